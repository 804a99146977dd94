//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// terminal is crabbox running at a terminal.
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	pty  *os.File
	done chan struct{} // closed when its output has ended

	mu     sync.Mutex // guards screen
	screen strings.Builder
}

// newHome makes a home for one test; nothing of it may be left at the end.
func newHome(t *testing.T) string {
	home, err := os.MkdirTemp("/tmp", "cbx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		crabbox(t, home, "release", "--all", "--yes")
		crabbox(t, home, "agent", "stop")
		deadline := time.Now().Add(patience)
		for len(processesOf(home)) > 0 && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
		}
		if left := processesOf(home); len(left) > 0 {
			t.Errorf("left behind: %s", left)
		}
		os.RemoveAll(home)
	})
	return home
}

func command(home string, args ...string) *exec.Cmd {
	cmd := exec.Command("crabbox", args...)
	cmd.Env = append(os.Environ(), "HOME="+home, "CRABBOX_HOME="+filepath.Join(home, "h"), "TERM=xterm", "NO_COLOR=")
	return cmd
}

// crabbox runs a command in a pipe and returns what it prints.
func crabbox(t *testing.T, home string, args ...string) string {
	t.Helper()
	out, err := command(home, args...).CombinedOutput()
	if err != nil {
		t.Errorf("crabbox %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func atTerminal(t *testing.T, home string, env []string, args ...string) *terminal {
	t.Helper()
	x := &terminal{t: t, cmd: command(home, args...), done: make(chan struct{})}
	x.cmd.Env = append(x.cmd.Env, env...)
	var err error
	if x.pty, err = pty.StartWithSize(x.cmd, &pty.Winsize{Rows: 24, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(x.done)
		buf := make([]byte, 4096)
		for {
			n, err := x.pty.Read(buf)
			x.mu.Lock()
			x.screen.Write(buf[:n])
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		if x.cmd.ProcessState == nil {
			x.cmd.Process.Kill()
			x.cmd.Wait()
		}
		x.pty.Close()
		<-x.done
	})
	return x
}

func (x *terminal) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.screen.String()
}

func (x *terminal) expect(pattern string) {
	x.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); !re.MatchString(x.text()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			x.t.Fatalf("never saw %s in:\n%q", pattern, x.text())
		}
	}
}

func (x *terminal) typed(keys string) {
	x.t.Helper()
	if _, err := x.pty.WriteString(keys); err != nil {
		x.t.Fatal(err)
	}
}

// ends waits for the end and compares the exit code.
func (x *terminal) ends(code int) {
	x.t.Helper()
	timer := time.AfterFunc(patience, func() { x.cmd.Process.Kill() })
	defer timer.Stop()
	err := x.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		x.t.Fatal(err)
	}
	if got := x.cmd.ProcessState.ExitCode(); got != code {
		x.t.Fatalf("exit code %d, want %d; the screen:\n%s", got, code, x.text())
	}
}

func TestReleaseAllAsksAtATerminal(t *testing.T) {
	home := newHome(t)
	crabbox(t, home, "warmup", "--slug", "web")
	x := atTerminal(t, home, nil, "release", "--all")
	x.expect(`Release 1 box\? \[y/N\]`)
	x.typed("n\n")
	x.ends(1)
	x = atTerminal(t, home, nil, "release", "--all")
	x.expect(`\[y/N\]`)
	x.typed("\x03")
	x.ends(130)
	if !strings.Contains(crabbox(t, home, "list"), "web") {
		t.Fatal("released without a yes")
	}
	x = atTerminal(t, home, nil, "release", "--all")
	x.expect(`\[y/N\]`)
	x.typed("yes\n")
	x.ends(0)
	if strings.Contains(crabbox(t, home, "list"), "web") {
		t.Fatal("not released")
	}
}

func TestSSHAtATerminalIsATerminalOnTheBox(t *testing.T) {
	home := newHome(t)
	crabbox(t, home, "warmup", "--slug", "web")
	x := atTerminal(t, home, nil, "ssh", "web")
	x.typed("stty size; exit 4\n")
	x.expect(`24 100`)
	x.ends(4)
	// Ctrl-C belongs to the command on the box.
	x = atTerminal(t, home, nil, "ssh", "web", "--", `trap "echo caught; exit 5" INT; echo ready; while :; do sleep 0.05; done`)
	x.expect(`ready`)
	x.typed("\x03")
	x.expect(`caught`)
	x.ends(5)
}

func TestProgressAndColoursAreForTerminals(t *testing.T) {
	home := newHome(t)
	x := atTerminal(t, home, nil, "warmup", "--slug", "web")
	x.ends(0)
	piped := crabbox(t, home, "warmup", "--slug", "api")
	if lines := strings.Count(piped, "\n"); strings.Contains(piped, "\x1b") || lines >= strings.Count(x.text(), "\n") {
		t.Errorf("in a pipe, %d lines:\n%q\nat a terminal:\n%q", lines, piped, x.text())
	}
	x = atTerminal(t, home, nil, "list")
	x.ends(0)
	x.expect("\x1b\\[32mrunning\x1b\\[0m")
	x = atTerminal(t, home, []string{"NO_COLOR=1"}, "list")
	x.ends(0)
	x.expect("web .* running ")
	if strings.Contains(x.text(), "\x1b") {
		t.Errorf("colours although NO_COLOR is set: %q", x.text())
	}
}

func TestConnectAtATerminalRedrawsItsTable(t *testing.T) {
	home := newHome(t)
	crabbox(t, home, "warmup", "--crew", "bay", "--slug", "web", "--expose", "8080")
	x := atTerminal(t, home, nil, "crew", "connect", "bay")
	x.expect(`web\.cbx:8080 .*nothing listens there`)
	crabbox(t, home, "ssh", "web", "--", `nohup "$CRABBOX_EXE" __serve hello </dev/null >/dev/null 2>&1 &`)
	// The way back to the first line of the two, then the table anew.
	x.expect("\x1b\\[2A\r\x1b\\[J(?s).*web\\.cbx:8080 .*usable")
	x.typed("\x03")
	x.ends(130)
	if out := crabbox(t, home, "crew", "status", "bay"); !strings.Contains(out, "is not connected") {
		t.Errorf("still connected after Ctrl-C:\n%s", out)
	}
}
