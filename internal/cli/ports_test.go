package cli

import (
	"strings"
	"testing"

	"crabbox/internal/agent/api"
)

func TestTroubleOfTheCrewItselfIsNotWaitedFor(t *testing.T) {
	c := api.Crew{Name: "demo", Problems: []string{"its files could not be written"}}
	if !settled(c, true) {
		t.Error("waits for what no link can mend")
	}
	if all := troubles(c); len(all) != 1 || all[0].who != "crew demo" {
		t.Errorf("troubles %+v", all)
	}
}

func TestAStateIsSaidOnce(t *testing.T) {
	m := api.Member{Slug: "web", State: api.LinkRefused, Reason: "the host key has changed"}
	if got, want := linkText(m), "refused: the host key has changed"; got != want {
		t.Errorf("link %q, want %q", got, want)
	}
	if got := troubles(api.Crew{Members: []api.Member{m}}); got[0].reason != "the host key has changed" {
		t.Errorf("reason %q", got[0].reason)
	}
	prohibited := api.Forward{State: api.PortProhibited, Reason: "ssh: rejected: administratively prohibited"}
	if got := forwardText(prohibited); strings.Contains(got, "rejected") {
		t.Errorf("forward %q repeats itself", got)
	}
}
