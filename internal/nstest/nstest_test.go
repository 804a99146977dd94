package nstest

import (
	"errors"
	"testing"
)

func TestNothingIsSkippedInCI(t *testing.T) {
	missing := errors.New("none")
	for _, row := range []struct {
		ci      string
		missing error
		ok      bool
		fails   bool
	}{
		{"", nil, true, false},
		{"true", nil, true, false},
		{"", missing, false, false},
		{"true", missing, false, true},
	} {
		t.Setenv("CI", row.ci)
		ok, err := have(row.missing)
		if ok != row.ok || (err != nil) != row.fails || row.fails && !errors.Is(err, missing) {
			t.Errorf("CI=%q, %v: %v, %v", row.ci, row.missing, ok, err)
		}
	}
}
