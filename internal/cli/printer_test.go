package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"crabbox/internal/fault"
)

// testPrinter writes to buffers, as in a pipe.
func testPrinter(asJSON bool) (p *printer, out, err *bytes.Buffer) {
	out, err = &bytes.Buffer{}, &bytes.Buffer{}
	return newPrinter(IO{Out: out, Err: err, Getenv: func(string) string { return "" }}, asJSON), out, err
}

func TestFailureTellsWhatAndThenWhatToDo(t *testing.T) {
	p, out, stderr := testPrinter(false)
	p.failure(fault.New(fault.Conflict, "Take another one.", "slug %s is taken", "web"))
	if got, want := stderr.String(), "crabbox: slug web is taken\nTake another one.\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
	if out.Len() > 0 {
		t.Errorf("stdout %q, want nothing", out)
	}
}

func TestFailureAsJSON(t *testing.T) {
	p, _, stderr := testPrinter(true)
	p.failure(fault.New(fault.NotFound, "Look.", "no \x1b[31mbox\n here"))
	var got map[string]any
	if err := json.Unmarshal(stderr.Bytes(), &got); err != nil {
		t.Fatalf("%q: %v", stderr, err)
	}
	want := map[string]any{"error": "no \x1b[31mbox\n here", "kind": "not found", "remedy": "Look.", "exit_code": 5.0}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if strings.Count(stderr.String(), "\n") != 1 || strings.Contains(stderr.String(), "\x1b") {
		t.Errorf("%q is not one line of plain JSON", stderr)
	}
}

func TestFailureSaysNothingOfACommandsOwnEnd(t *testing.T) {
	p, out, stderr := testPrinter(false)
	p.failure(ended(3))
	p.failure(nil)
	if out.Len()+stderr.Len() > 0 {
		t.Errorf("printed %q %q", out, stderr)
	}
}

func TestInterruptedIsOneWordUnlessSomethingIsLeft(t *testing.T) {
	p, _, stderr := testPrinter(false)
	p.failure(interrupted{fmt.Errorf("warm up web: %w", context.Canceled)})
	if got, want := stderr.String(), "crabbox: interrupted\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
	stderr.Reset()
	p.failure(interrupted{fault.New(fault.Failed, "crabbox release cbx_1 tries again.", "web is left: %w", context.Canceled)})
	if !strings.Contains(stderr.String(), "web is left") || !strings.Contains(stderr.String(), "crabbox release cbx_1") {
		t.Errorf("stderr %q hides what is left", stderr)
	}
}

func TestForeignTextCannotDriveATerminal(t *testing.T) {
	for _, foreign := range []string{
		"\x1b[2J\x1b]0;title\x07", "a\nb", "a\rb", "\u202Egnp.exe", "\x9b31m", "a\x00b", "\u2066x\u2069", "\xff\xfe", "zero\u200Bwidth", "line\u2028sep",
	} {
		p, out, stderr := testPrinter(false)
		p.line("%s and %v", foreign, errors.New(foreign))
		p.warn("%s", foreign)
		p.facts([2]string{"name", foreign})
		t1 := &table{head: []string{"A", "B"}}
		t1.row(foreign, cell{foreign, bad})
		p.table(t1)
		for i, line := range strings.Split(strings.TrimSuffix(out.String()+stderr.String(), "\n"), "\n") {
			if i >= 5 {
				t.Errorf("%q made a line of its own: %q", foreign, line)
			}
			for _, r := range line {
				if unicode.IsControl(r) || unicode.In(r, unicode.Cf) || r == '\u2028' {
					t.Errorf("%q let %U through in %q", foreign, r, line)
				}
			}
		}
	}
}

func TestTableIsAlignedAndColoursOnlyWhereWanted(t *testing.T) {
	table := &table{head: []string{"NAME", "STATE"}}
	table.row("web", cell{"running", good})
	table.row("långt-namn", "")
	got := strings.Join(table.lines(false), "\n")
	want := "NAME        STATE\nweb         running\nlångt-namn  -"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	coloured := table.lines(true)[1]
	if want := "web         \x1b[32mrunning\x1b[0m"; coloured != want {
		t.Errorf("got %q, want %q", coloured, want)
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", 90 * time.Second: "2m", 8*time.Hour - time.Millisecond: "8h",
		2*time.Hour + 5*time.Minute: "2h05m", 72 * time.Hour: "3d",
	} {
		if got := short(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0B", 999: "999B", 1000: "1.0kB", 1_500_000: "1.5MB", 1 << 63: "9.2EB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestJSONIsAskedForBeforeTheCommandStarts(t *testing.T) {
	for args, want := range map[string]bool{
		"list --json": true, "--json list": true, "run -- curl --json": false, "list": false, "list --json=true": true,
	} {
		if got := wantsJSON(strings.Fields(args)); got != want {
			t.Errorf("%s: %v, want %v", args, got, want)
		}
	}
}

// full is a disk without space.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestLostOutputIsAFailure(t *testing.T) {
	var stderr bytes.Buffer
	streams := IO{In: strings.NewReader(""), Out: full{}, Err: &stderr, Getenv: func(string) string { return "" }}
	if code := Main(t.Context(), streams, []string{"version"}, nil, "1"); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if got := stderr.String(); !strings.HasPrefix(got, "crabbox: the output could not be written: ") {
		t.Errorf("stderr %q", got)
	}
}

func TestAdviceStandsBelowTheTroubleAsItIs(t *testing.T) {
	p, _, stderr := testPrinter(false)
	p.advise("")
	p.advise("crabbox doctor says\nmore.")
	if got, want := stderr.String(), "crabbox doctor says more.\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
	p, _, stderr = testPrinter(true)
	p.advise("Look.")
	if got, want := stderr.String(), `{"note":"Look."}`+"\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
}
