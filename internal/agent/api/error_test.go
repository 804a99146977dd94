package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"crabbox/internal/agent/api"
	"crabbox/internal/fault"
)

// A failure is the same on both sides of the socket.
func TestErrorTravels(t *testing.T) {
	statuses := map[int]bool{}
	for _, kind := range []fault.Kind{fault.Failed, fault.Usage, fault.Credentials, fault.NotFound, fault.Conflict, fault.Timeout, fault.Unsupported, fault.NotOurs, api.Ending} {
		sent := fmt.Errorf("crew demo: %w", fault.New(kind, "Do this.", "box %d is odd", 7))
		data, err := json.Marshal(api.NewError(sent))
		if err != nil {
			t.Fatal(err)
		}
		var e api.Error
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		got := e.Fault()
		if !errors.Is(got, kind) || fault.KindOf(got) != kind || fault.RemedyOf(got) != "Do this." || got.Error() != sent.Error() {
			t.Errorf("%s arrives as %s: %v (%s)", kind, fault.KindOf(got), got, fault.RemedyOf(got))
		}
		if s := e.Status(); s < 400 || statuses[s] {
			t.Errorf("%s: status %d is no failure or not its own", kind, s)
		}
		statuses[e.Status()] = true
	}
	plain := api.NewError(errors.New("just so"))
	if err := plain.Fault(); fault.KindOf(err) != fault.Failed || plain.Status() != http.StatusInternalServerError {
		t.Errorf("an error without kind: %v, %d", err, plain.Status())
	}
	if err := (api.Error{Message: "old"}).Fault(); fault.KindOf(err) != fault.Failed {
		t.Errorf("no kind sent: %v", err)
	}
}
