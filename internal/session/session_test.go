//go:build unix

package session_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/fault"
	"crabbox/internal/session"
	"crabbox/internal/sshdtest"
)

// run runs a command that has to end by itself within half a minute.
func run(t *testing.T, c *ssh.Client, cmd session.Command) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out, talk bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	cmd.Stderr = &talk
	code, err := session.Run(ctx, c, cmd)
	if err != nil {
		t.Fatalf("%q: %v (stderr %q)", cmd.Line, err, talk.String())
	}
	return code, out.String(), talk.String()
}

func TestExitCodes(t *testing.T) {
	onEachHost(t, func(t *testing.T, h host) {
		c := h.connect(t)
		for line, want := range map[string]int{
			"true": 0, "exit 7": 7, "exit 255": 255, "/nowhere/at/all": 127,
			"kill -TERM $$": 143, "kill -KILL $$": 137, "kill -HUP $$": 129, "kill -USR1 $$": 138,
		} {
			if code, _, _ := run(t, c, session.Command{Line: line}); code != want {
				t.Errorf("%q: code %d, want %d", line, code, want)
			}
		}
	})
}

func TestStreamsStayApart(t *testing.T) {
	onEachHost(t, func(t *testing.T, h host) {
		code, out, talk := run(t, h.connect(t), session.Command{Line: "echo out; echo talk >&2; cat", Stdin: strings.NewReader("in")})
		if code != 0 || out != "out\nin" || talk != "talk\n" {
			t.Errorf("code %d, stdout %q, stderr %q", code, out, talk)
		}
	})
}

func TestStderrIsTheCommandsOwn(t *testing.T) {
	onEachHost(t, func(t *testing.T, h host) {
		c := h.connect(t)
		for line, want := range map[string]string{"true": "", "printf x >&2": "x", "echo one >&2; printf two >&2": "one\ntwo"} {
			if code, _, talk := run(t, c, session.Command{Line: line}); code != 0 || talk != want {
				t.Errorf("%q: code %d, stderr %q, want %q", line, code, talk, want)
			}
		}
	})
}

func TestNoStdinIsEmptyInput(t *testing.T) {
	onEachHost(t, func(t *testing.T, h host) {
		if code, out, _ := run(t, h.connect(t), session.Command{Line: "cat; echo end"}); code != 0 || out != "end\n" {
			t.Errorf("code %d, stdout %q", code, out)
		}
	})
}

func TestMuchDataBothWays(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 20<<16) // 20 MiB
	onEachHost(t, func(t *testing.T, h host) {
		sum := sha256.New()
		code, _, _ := run(t, h.connect(t), session.Command{Line: "cat", Stdin: bytes.NewReader(data), Stdout: sum})
		if want := sha256.Sum256(data); code != 0 || !bytes.Equal(sum.Sum(nil), want[:]) {
			t.Errorf("code %d, or the data came back changed", code)
		}
	})
}

// The command ends while its input is still open: Run returns, and takes no
// byte that comes later.
func TestOpenInputIsGivenUp(t *testing.T) {
	onEachHost(t, func(t *testing.T, h host) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		if code, _, _ := run(t, h.connect(t), session.Command{Line: "exit 3", Stdin: r}); code != 3 {
			t.Errorf("code %d, want 3", code)
		}
		if _, err := w.WriteString("for another"); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if rest, err := io.ReadAll(r); err != nil || string(rest) != "for another" {
			t.Errorf("what came after the end: %q, %v", rest, err)
		}
	})
}

func TestPipeAsInput(t *testing.T) {
	onEachHost(t, func(t *testing.T, h host) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := w.WriteString("through a pipe"); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if code, out, _ := run(t, h.connect(t), session.Command{Line: "cat", Stdin: r}); code != 0 || out != "through a pipe" {
			t.Errorf("code %d, stdout %q", code, out)
		}
	})
}

func TestBrokenInputEndsTheCommand(t *testing.T) {
	onEachHost(t, func(t *testing.T, h host) {
		broken := errors.New("the disk is gone")
		r, w := io.Pipe()
		w.CloseWithError(broken)
		// cat would end well if the broken input looked like a finished one.
		_, err := session.Run(t.Context(), h.connect(t), session.Command{Line: "cat", Stdin: r})
		if !errors.Is(err, broken) {
			t.Errorf("error %v, want the reader's", err)
		}
	})
}

type fullDisk struct{}

func (fullDisk) Write(p []byte) (int, error) { return 0, syscall.ENOSPC }

func TestBrokenOutputEndsTheCommand(t *testing.T) {
	onEachHost(t, func(t *testing.T, h host) {
		_, err := session.Run(t.Context(), h.connect(t), session.Command{Line: "yes", Stdout: fullDisk{}})
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("error %v, want the writer's", err)
		}
	})
}

func TestFolder(t *testing.T) {
	for _, name := range []string{"plain", "with space", "it's", "-dash", "new\nline", "ünïcode", "$HOME"} {
		dir := t.TempDir() + "/" + name
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		onEachHost(t, func(t *testing.T, h host) {
			if code, out, talk := run(t, h.connect(t), session.Command{Line: "pwd -P", Dir: dir}); code != 0 || out != dir+"\n" {
				t.Errorf("code %d, in %q, want %q (stderr %q)", code, out, dir, talk)
			}
		})
	}
}

func TestRelativeFolderIsBelowHome(t *testing.T) {
	h := startBox(t)
	c := h.connect(t)
	run(t, c, session.Command{Line: "mkdir -p -- -a/b"})
	_, home, _ := run(t, c, session.Command{Line: "pwd"})
	if _, out, _ := run(t, c, session.Command{Line: "pwd", Dir: "-a/b"}); out != strings.TrimSpace(home)+"/-a/b\n" {
		t.Errorf("in %q, home is %q", out, home)
	}
}

func TestMissingFolder(t *testing.T) {
	onEachHost(t, func(t *testing.T, h host) {
		code, out, talk := run(t, h.connect(t), session.Command{Line: "echo started", Dir: "/nowhere/at all"})
		if code != session.NoFolder || out != "" || !strings.Contains(talk, "/nowhere/at all") {
			t.Errorf("code %d, stdout %q, stderr %q", code, out, talk)
		}
	})
}

func TestBadCommands(t *testing.T) {
	c := startBox(t).connect(t)
	for name, cmd := range map[string]session.Command{
		"NUL in line":   {Line: "echo \x00"},
		"NUL in folder": {Line: "true", Dir: "a\x00b"},
		"NUL in value":  {Line: "true", Env: map[string]string{"A": "\x00"}},
		"empty name":    {Line: "true", Env: map[string]string{"": "x"}},
		"shell in name": {Line: "true", Env: map[string]string{"A; touch x": "x"}},
		"digit first":   {Line: "true", Env: map[string]string{"1A": "x"}},
	} {
		if _, err := session.Run(t.Context(), c, cmd); !errors.Is(err, fault.Usage) {
			t.Errorf("%s: error %v, want wrong usage", name, err)
		}
	}
}

func TestSignals(t *testing.T) {
	onEachHost(t, func(t *testing.T, h host) {
		c := h.connect(t)
		for _, test := range []struct {
			name, line, signal string
			want               int
		}{
			{"handled", "trap 'exit 42' INT; echo ready; while :; do sleep 0.02; done", "INT", 42},
			// bash ignores QUIT until its exec, so it is another shell that says ready.
			{"deadly", "exec sh -c 'echo ready; exec sleep 60'", "INT", 130},
			{"another", "exec sh -c 'echo ready; exec sleep 60'", "QUIT", 131},
		} {
			signals, ready := make(chan string, 1), make(chan struct{})
			go func() {
				<-ready
				signals <- test.signal
			}()
			code, _, _ := run(t, c, session.Command{Line: test.line, Signals: signals, Stdout: &notice{"ready", ready, nil}})
			if code != test.want {
				t.Errorf("%s: code %d, want %d", test.name, code, test.want)
			}
		}
	})
}

// notice closes said once text was written; seen has all that was.
type notice struct {
	text string
	said chan struct{}
	seen []byte
}

func (n *notice) Write(p []byte) (int, error) {
	before := bytes.Contains(n.seen, []byte(n.text))
	n.seen = append(n.seen, p...)
	if !before && bytes.Contains(n.seen, []byte(n.text)) {
		close(n.said)
	}
	return len(p), nil
}

func TestCancelEndsTheCommand(t *testing.T) {
	reason := errors.New("enough")
	onEachHost(t, func(t *testing.T, h host) {
		c := h.connect(t)
		for _, test := range []struct {
			name, line string
			limit      time.Duration
		}{
			{"gives in", "echo pid $$ ready; exec sleep 60", 2 * time.Second},
			{"ignores TERM", "trap '' TERM; echo pid $$ ready; while :; do sleep 0.02; done", 4 * time.Second},
		} {
			ctx, cancel := context.WithCancelCause(t.Context())
			out := &notice{"ready", make(chan struct{}), nil}
			var cancelled time.Time
			go func() {
				<-out.said
				cancelled = time.Now()
				cancel(reason)
			}()
			_, err := session.Run(ctx, c, session.Command{Line: test.line, Stdout: out})
			if !errors.Is(err, reason) {
				t.Fatalf("%s: error %v, want the context's cause", test.name, err)
			}
			if took := time.Since(cancelled); took > test.limit {
				t.Errorf("%s: took %v", test.name, took)
			}
			awaitDeath(t, string(out.seen))
		}
		if code, _, _ := run(t, c, session.Command{Line: "exit 5"}); code != 5 {
			t.Errorf("the connection did not outlive the cancelled commands: code %d", code)
		}
	})
}

// awaitDeath waits until the process of "pid N ready" is gone.
func awaitDeath(t *testing.T, said string) {
	t.Helper()
	pid, err := strconv.Atoi(strings.Fields(said)[1])
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("process %d outlives its command", pid)
			syscall.Kill(pid, syscall.SIGKILL)
			return
		}
	}
}

func TestCancelledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := session.Run(ctx, startBox(t).connect(t), session.Command{Line: "true"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestLostConnection(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	c := host{"openssh", s.Addr, s.User, s.UserKeyFile}.connect(t)
	out := &notice{"ready", make(chan struct{}), nil}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-out.said
		s.Stop()
	}()
	_, err := session.Run(t.Context(), c, session.Command{Line: "echo ready; exec sleep 60", Stdout: out})
	<-stopped
	if !errors.Is(err, fault.Failed) || fault.RemedyOf(err) == "" {
		t.Errorf("error %v, want a failure with a remedy", err)
	}
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name, config string
		cmd          session.Command
	}{
		{"no sessions", "MaxSessions 0", session.Command{Line: "true"}},
		{"no terminals", "PermitTTY no", session.Command{Line: "true", Terminal: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := sshdtest.Start(t, sshdtest.Options{Config: []string{test.config}})
			c := host{"openssh", s.Addr, s.User, s.UserKeyFile}.connect(t)
			if _, err := session.Run(t.Context(), c, test.cmd); !errors.Is(err, fault.Unsupported) {
				t.Errorf("error %v, want not supported", err)
			}
		})
	}
}
