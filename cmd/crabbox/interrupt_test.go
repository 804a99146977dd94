//go:build unix

package main

import (
	"bufio"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// interruptAt runs a command until its stdout shows pattern, sends it SIGINT,
// and returns its exit code and all that it said.
func interruptAt(t *testing.T, home, pattern string, args ...string) (code int, said string) {
	t.Helper()
	cmd := command(home, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	seen, stage := false, regexp.MustCompile(pattern)
	var all strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		if !seen && stage.MatchString(lines.Text()) {
			seen = true
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if !seen {
		t.Fatalf("never saw %s in:\n%s%s", pattern, all.String(), stderr.String())
	}
	return cmd.ProcessState.ExitCode(), all.String() + stderr.String()
}

func TestDemoCleansUpWhereverItIsInterrupted(t *testing.T) {
	for _, stage := range []string{`^Three boxes`, ` leased `, ` started `, ` connected`, `hello from web$`, ` cut `} {
		t.Run(strings.Trim(stage, " ^$`"), func(t *testing.T) {
			home := newHome(t)
			code, said := interruptAt(t, home, stage, "demo")
			if code != 130 {
				t.Errorf("exit code %d, want 130:\n%s", code, said)
			}
			if out := crabbox(t, home, "list", "--json"); strings.TrimSpace(out) != "[]" {
				t.Errorf("left behind:\n%s\nafter:\n%s", out, said)
			}
			if left := processesOf(home); len(left) > 0 {
				t.Errorf("processes left behind: %s", left)
			}
		})
	}
}

// A command on a box that ignores the end of its connection must not keep run
// from releasing the box.
func TestRunReleasesItsBoxWhenTheCommandIgnoresSignals(t *testing.T) {
	home := newHome(t)
	x := atTerminal(t, home, nil, "run", "--no-sync", "--slug", "deaf", "--", `trap "" INT TERM HUP; echo ready; while :; do sleep 0.05; done`)
	x.expect("ready")
	if err := x.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	x.ends(130)
	if out := crabbox(t, home, "list"); strings.Contains(out, "deaf") {
		t.Errorf("not released:\n%s", out)
	}
}
