package doctor

import (
	"context"
	"errors"
	"testing"
)

func result(r Result) func(context.Context) Result { return func(context.Context) Result { return r } }

func examine(fix bool, checks ...check) []Result {
	e := &examination{request: Request{Fix: fix}, bad: map[string]bool{}}
	e.runAll(context.Background(), checks)
	return e.results
}

func TestChecksWithoutTheirGroundAreSkipped(t *testing.T) {
	got := examine(false,
		check{code: "a", run: result(fail("broken", "mend it"))},
		check{code: "b", needs: []string{key("a", "")}, run: result(ok("never"))},
		check{code: "c", needs: []string{key("b", "")}, run: result(ok("never"))},
		check{code: "d", subject: "x", run: result(warn("odd", ""))},
		check{code: "e", needs: []string{key("d", "x")}, run: result(ok("fine"))},
	)
	for i, want := range []Finding{Fail, Skip, Skip, Warn, OK} {
		if got[i].Finding != want {
			t.Errorf("%s: %s, want %s", got[i].Code, got[i].Finding, want)
		}
	}
	if Healthy(got) {
		t.Error("healthy with a failed check")
	}
}

func TestOnlyFixMends(t *testing.T) {
	fixed := 0
	c := check{code: "a", run: result(fail("broken", "")), fix: func(context.Context) (string, error) { fixed++; return "mended", nil }}
	after := check{code: "b", needs: []string{key("a", "")}, run: result(ok("fine"))}
	if got := examine(false, c, after); fixed != 0 || got[0].Fixed != "" || got[1].Finding != Skip {
		t.Errorf("without fix: %d fixes, %+v", fixed, got)
	}
	got := examine(true, c, after)
	if fixed != 1 || got[0].Fixed != "mended" || got[1].Finding != OK || !Healthy(got) {
		t.Errorf("with fix: %d fixes, %+v", fixed, got)
	}
}

func TestAFixThatFailsIsSaid(t *testing.T) {
	got := examine(true, check{code: "a", run: result(fail("broken", "")),
		fix: func(context.Context) (string, error) { return "mended", errors.New("no hammer") }})
	if got[0].Fixed != "" || got[0].Detail != "broken; fixing it: no hammer" || Healthy(got) {
		t.Errorf("%+v", got)
	}
}

func TestWhatIsWellIsNotMended(t *testing.T) {
	examine(true, check{code: "a", run: result(ok("fine")), fix: func(context.Context) (string, error) {
		t.Error("mended what is well")
		return "", nil
	}})
}
