package sshbox_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/sshbox"
)

// startSleeper runs a command that sleeps for ever, and returns its process id.
func startSleeper(t *testing.T, s *ssh.Session, before string) int {
	t.Helper()
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(before + " echo pid $$; while :; do sleep 1000 & wait; done"); err != nil {
		t.Fatal(err)
	}
	return readPID(t, out)
}

func readPID(t *testing.T, r io.Reader) int {
	t.Helper()
	line := readLine(t, r)
	pid, err := strconv.Atoi(strings.TrimPrefix(line, "pid "))
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return pid
}

// readLine reads no further than the next line, which it returns without its end.
func readLine(t *testing.T, r io.Reader) string {
	t.Helper()
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatalf("after %q: %v", line, err)
		}
		if b[0] == '\n' {
			return strings.TrimSuffix(string(line), "\r")
		}
		line = append(line, b[0])
	}
}

// alive tells whether a process exists and is no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

func TestExitCodes(t *testing.T) {
	h := newHouse(t)
	c := h.dial()
	for _, code := range []int{0, 1, 3, 127, 255} {
		if got := exitCode(t, c, "exit "+strconv.Itoa(code)); got != code {
			t.Errorf("exit %d: got %d", code, got)
		}
	}
}

func exitCode(t *testing.T, c *ssh.Client, line string) int {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	switch err := s.Run(line); e := err.(type) {
	case nil:
		return 0
	case *ssh.ExitError:
		return e.ExitStatus()
	default:
		t.Fatalf("%s: %v", line, err)
		return -1
	}
}

func TestExitSignals(t *testing.T) {
	h := newHouse(t)
	for line, want := range map[string]string{
		"kill -TERM $$": "TERM", "kill -KILL $$": "KILL", "kill -USR1 $$": "USR1", "kill -BUS $$": "BUS@crabbox",
	} {
		err := h.session().Run("ulimit -c 0; " + line)
		if e, ok := errors.AsType[*ssh.ExitError](err); !ok || e.Signal() != want {
			t.Errorf("%s: got %v, want signal %s", line, err, want)
		}
	}
}

func TestSignalsReachTheGroup(t *testing.T) {
	h := newHouse(t)
	s := h.session()
	pid := startSleeper(t, s, "sleep 1000 & echo pid $!;") // the child's id comes first
	if err := s.Signal(ssh.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := s.Wait()
	if e, ok := errors.AsType[*ssh.ExitError](err); !ok || e.Signal() != "TERM" {
		t.Errorf("got %v", err)
	}
	eventually(t, "the end of the child", func() bool { return !alive(pid) })
}

func TestStreamsAreSeparate(t *testing.T) {
	s := newHouse(t).session()
	var out, failed bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader("in"), &out, &failed
	if err := s.Run("cat; echo out; echo err >&2"); err != nil {
		t.Fatal(err)
	}
	if out.String() != "inout\n" || failed.String() != "err\n" {
		t.Errorf("stdout %q, stderr %q", out.String(), failed.String())
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("SSHBOX_TEST_SECRET", "of the server's process")
	h := newHouse(t, func(s *sshbox.Server) { s.Env = []string{"COLOUR=red", "SIZE=big"} })
	s := h.session()
	if err := s.Setenv("SIZE", "small; echo"); err != nil {
		t.Fatal(err)
	}
	if err := s.Setenv("A=B", "C"); err == nil {
		t.Error("a name with = was taken")
	}
	if err := s.Setenv("LONG", strings.Repeat("x", 65<<10)); err == nil {
		t.Error("an endless value was taken")
	}
	out, err := s.Output("pwd; env")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(string(out), "\n")
	if strings.Contains(string(out), "SSHBOX_TEST_SECRET") {
		t.Error("the server's own environment got out")
	}
	host, port, _ := strings.Cut(h.address, ":")
	for _, want := range []string{"COLOUR=red", "SIZE=small; echo", "HOME=" + h.dir, "USER=crab", "LOGNAME=crab", "SHELL=/bin/sh"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in %q", want, got)
		}
	}
	if !slices.ContainsFunc(got, func(v string) bool {
		return strings.HasPrefix(v, "SSH_CONNECTION=127.0.0.1 ") && strings.HasSuffix(v, " "+host+" "+port)
	}) {
		t.Errorf("no SSH_CONNECTION in %q", got)
	}
	if home, err := filepath.EvalSymlinks(h.dir); err != nil || got[0] != home {
		t.Errorf("started in %s, want %s", got[0], h.dir)
	}
}

func TestLoginShell(t *testing.T) {
	s := newHouse(t).session()
	var out bytes.Buffer
	s.Stdin, s.Stdout = strings.NewReader("echo $0\nexit 4\n"), &out
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	err := s.Wait()
	if e, ok := errors.AsType[*ssh.ExitError](err); !ok || e.ExitStatus() != 4 || out.String() != "-sh\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestShellOfTheServer(t *testing.T) {
	script := filepath.Join(t.TempDir(), "shell")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$1 $2\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, func(s *sshbox.Server) { s.Shell = script })
	if got := h.output("what ever"); got != "-c what ever\n" {
		t.Errorf("got %q", got)
	}
}

func TestCommandThatCannotStart(t *testing.T) {
	h := newHouse(t, func(s *sshbox.Server) { s.Shell = "/nonexistent/shell" })
	for range 3 { // leaks would add up
		s := h.session()
		var failed bytes.Buffer
		s.Stderr = &failed
		err := s.Run("true")
		if e, ok := errors.AsType[*ssh.ExitError](err); !ok || e.ExitStatus() != 127 || !strings.Contains(failed.String(), "/nonexistent/shell") {
			t.Errorf("%v, stderr %q", err, failed.String())
		}
	}
}

func TestMissingHome(t *testing.T) {
	h := newHouse(t, func(s *sshbox.Server) { s.Home += "/gone" })
	s := h.session()
	var failed bytes.Buffer
	s.Stderr = &failed
	out, err := s.Output("pwd")
	if err != nil || string(out) != "/\n" || !strings.Contains(failed.String(), "/gone") {
		t.Errorf("%q, %v, stderr %q", out, err, failed.String())
	}
}

func TestOneCommandPerSession(t *testing.T) {
	s := newHouse(t).session()
	in, err := s.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("cat"); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"exec", "subsystem", "env", "pty-req", "auth-agent-req@openssh.com"} {
		ok, err := s.SendRequest(kind, true, ssh.Marshal(struct{ Text string }{"true"}))
		if ok || err != nil {
			t.Errorf("%s on a running session: %v, %v", kind, ok, err)
		}
	}
	_ = in.Close()
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
}

// More than the channel's window takes: the rest is in the pipe when the command
// ends, or comes later. A slow receiver is not taken for silence.
func TestMuchOutputToASlowReceiver(t *testing.T) {
	const size = 2<<20 + 64<<10
	say := "head -c " + strconv.Itoa(size) + " /dev/zero"
	for name, line := range map[string]string{"of the command": say, "of its child": "(sleep 0.2; " + say + ") & true"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newHouse(t).session()
			out, err := s.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Start(line); err != nil {
				t.Fatal(err)
			}
			<-time.After(2500 * time.Millisecond) // is slow
			if n, err := io.Copy(io.Discard, out); err != nil || n != size {
				t.Errorf("%d of %d bytes, %v", n, size, err)
			}
			if err := s.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestManyBytesThroughACommand(t *testing.T) {
	s := newHouse(t).session()
	data := bytes.Repeat([]byte("0123456789abcdef"), 20<<16)
	sum := sha256.New()
	s.Stdin, s.Stdout = bytes.NewReader(data), sum
	if err := s.Run("cat"); err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(data); !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Error("other bytes came back")
	}
}

func TestBackgroundChildDoesNotHoldTheSession(t *testing.T) {
	begin := time.Now()
	out := newHouse(t).output("sleep 1000 & echo pid $!")
	t.Cleanup(func() { endProcess(t, strings.TrimSpace(strings.TrimPrefix(out, "pid "))) })
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("took %v", took)
	}
}

// endProcess ends what a test's command has left on purpose.
func endProcess(t *testing.T, pid string) {
	id, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := os.FindProcess(id); err == nil {
		_ = p.Kill()
	}
}

// What a child in the background says is passed on as long as it talks.
func TestBackgroundChildIsHeard(t *testing.T) {
	out := newHouse(t).output("(for i in 1 2 3 4 5 6; do sleep 0.3; echo $i; done) & echo 0")
	if out != "0\n1\n2\n3\n4\n5\n6\n" {
		t.Errorf("got %q", out)
	}
}

func TestHangUp(t *testing.T) {
	h := newHouse(t)
	t.Run("session closed", func(t *testing.T) {
		s := h.session()
		pid := startSleeper(t, s, "")
		_ = s.Close()
		eventually(t, "the command's end", func() bool { return !alive(pid) })
	})
	t.Run("connection lost", func(t *testing.T) {
		c := h.dial()
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		pid := startSleeper(t, s, "")
		_ = c.Close()
		eventually(t, "the command's end", func() bool { return !alive(pid) })
	})
	t.Run("nohup outlives it, but not the server", func(t *testing.T) {
		h := newHouse(t)
		c := h.dial()
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		pid := startSleeper(t, s, "trap '' HUP;")
		other := h.dial()
		_ = c.Close()
		if exitCode(t, other, "sleep 0.2; kill -0 "+strconv.Itoa(pid)) != 0 {
			t.Error("the command did not outlive its connection")
		}
		h.stop()
		if alive(pid) {
			t.Error("the command outlived its server")
		}
	})
}

func TestServerEndKillsCommands(t *testing.T) {
	h := newHouse(t)
	c := h.dial()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	pid := startSleeper(t, s, "trap '' HUP TERM INT;")
	h.stop()
	if alive(pid) {
		t.Error("the command outlived the server")
	}
	if err := c.Wait(); err == nil {
		t.Error("the connection ended in order")
	}
}
