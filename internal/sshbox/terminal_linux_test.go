package sshbox_test

import (
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestTerminal(t *testing.T) {
	h := newHouse(t)
	s := h.session()
	if err := s.RequestPty("crab-term", 37, 101, ssh.TerminalModes{ssh.ECHO: 0, ssh.VINTR: 1, ssh.ONLCR: 0}); err != nil {
		t.Fatal(err)
	}
	in, err := s.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	line := `stty size; echo $TERM; test "$(tty)" = "$SSH_TTY" && echo same; stty -a | tr ';' '\n' | grep -o 'intr = .*\|-echo$\|-echo \|-onlcr' | tr -d '\n '; echo
		trap 'stty size' WINCH; echo ready; while ! read word; do :; done; echo "$word"; exit 6`
	if err := s.Start(line); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"37 101", "crab-term", "same", "intr=^A-onlcr-echo", "ready"} {
		if got := readLine(t, out); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if err := s.WindowChange(50, 200); err != nil {
		t.Fatal(err)
	}
	if got := readLine(t, out); got != "50 200" {
		t.Errorf("got %q", got)
	}
	if _, err := io.WriteString(in, "words\n"); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(out); err != nil || string(rest) != "words\n" {
		t.Errorf("%q, %v", rest, err)
	}
	if err, ok := s.Wait().(*ssh.ExitError); !ok || err.ExitStatus() != 6 {
		t.Errorf("ended with %v", err)
	}
}

// What a command says just before its end is not lost with its terminal.
func TestTerminalLosesNothing(t *testing.T) {
	c := newHouse(t).dial()
	for range 100 {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
			t.Fatal(err)
		}
		if out, err := s.Output("echo last words"); err != nil || string(out) != "last words\r\n" {
			t.Fatalf("%q, %v", out, err)
		}
	}
}

func TestInterruptByTerminal(t *testing.T) {
	s := newHouse(t).session()
	if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
		t.Fatal(err)
	}
	in, err := s.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	startSleeper(t, s, "")
	if _, err := in.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	if err, ok := s.Wait().(*ssh.ExitError); !ok || err.Signal() != "INT" {
		t.Errorf("ended with %v", err)
	}
}

// The terminal goes with the channel.
func TestTerminalHangUp(t *testing.T) {
	h := newHouse(t)
	for name, line := range map[string]string{
		"foreground in a group of its own": "set -m; sh -c 'echo pid $$; exec sleep 1000'; true",
		"reader that ignores the signal":   "trap '' HUP; echo pid $$; cat; true",
	} {
		t.Run(name, func(t *testing.T) {
			s := h.session()
			if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
				t.Fatal(err)
			}
			out, err := s.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Start(line); err != nil {
				t.Fatal(err)
			}
			pid := readPID(t, out)
			_ = s.Close()
			eventually(t, "its end", func() bool { return !alive(pid) })
		})
	}
}

func TestTerminalWithoutCommand(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which would close lost files
	c := newHouse(t).dial()
	for range 3 {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
			t.Fatal(err)
		}
		if err := s.RequestPty("xterm", 24, 80, nil); err == nil {
			t.Error("a second terminal was given")
		}
		_ = s.Close()
	}
	eventually(t, "the end of the terminals", func() bool {
		files, err := filepath.Glob("/proc/self/fd/*")
		return err == nil && !slices.ContainsFunc(files, func(file string) bool {
			target, err := os.Readlink(file)
			return err == nil && strings.HasSuffix(target, "ptmx")
		})
	})
	if s, err := c.NewSession(); err != nil {
		t.Error(err)
	} else if out, err := s.Output("tty || true"); err != nil || string(out) != "not a tty\n" {
		t.Errorf("%q, %v", out, err)
	}
}
