package sshbox_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"
)

// These tests drive the server by OpenSSH's own clients.

// tool prepares ssh, sftp or scp with a configuration in which the house is
// called "box".
func (h *house) tool(name string, args ...string) *exec.Cmd {
	h.t.Helper()
	host, port, err := net.SplitHostPort(h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	known := filepath.Join(h.dir, "known")
	line := "[" + host + "]:" + port + " " + string(ssh.MarshalAuthorizedKey(h.server.HostKey.PublicKey()))
	if err := os.WriteFile(known, []byte(line), 0o600); err != nil {
		h.t.Fatal(err)
	}
	config := filepath.Join(h.dir, "config")
	if err := os.WriteFile(config, []byte(strings.Join([]string{
		"Host box", "HostName " + host, "Port " + port, "User crab", "IdentityFile " + h.keyFile, "IdentitiesOnly yes",
		"UserKnownHostsFile " + known, "StrictHostKeyChecking yes", "BatchMode yes", "LogLevel ERROR",
		"ExitOnForwardFailure yes", "ControlPath none", "",
	}, "\n")), 0o600); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	h.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, append([]string{"-F", config}, args...)...)
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK=")
	return cmd
}

// run runs a tool and returns its output and exit code.
func (h *house) run(cmd *exec.Cmd) (string, int) {
	h.t.Helper()
	var failed bytes.Buffer
	if cmd.Stderr == nil {
		cmd.Stderr = &failed
	}
	out, err := cmd.Output()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		if failed.Len() > 0 {
			h.t.Logf("%s: %s", cmd.Args[0], failed.String())
		}
		return string(out), e.ExitCode()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return string(out), 0
}

func TestOpenSSHExitCodes(t *testing.T) {
	h := newHouse(t)
	for line, want := range map[string]int{"true": 0, "exit 3": 3, "exit 254": 254, "kill -TERM $$": 255, "nonexistent-command": 127} {
		if _, got := h.run(h.tool("ssh", "box", line)); got != want {
			t.Errorf("%s: %d, want %d", line, got, want)
		}
	}
}

func TestOpenSSHStreams(t *testing.T) {
	h := newHouse(t)
	cmd := h.tool("ssh", "box", "cat; echo after the end; echo oops >&2; exit 9")
	var failed bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader("one\ntwo\n"), &failed
	if out, code := h.run(cmd); out != "one\ntwo\nafter the end\n" || failed.String() != "oops\n" || code != 9 {
		t.Errorf("%q, %q, %d", out, failed.String(), code)
	}
}

func TestOpenSSHLoginShell(t *testing.T) {
	h := newHouse(t)
	cmd := h.tool("ssh", "box")
	cmd.Stdin = strings.NewReader("echo $0 in $PWD\nexit 5\n")
	if out, code := h.run(cmd); !strings.HasPrefix(out, "-sh in ") || code != 5 {
		t.Errorf("%q, %d", out, code)
	}
}

func TestOpenSSHManyBytes(t *testing.T) {
	h := newHouse(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 20<<16)
	cmd := h.tool("ssh", "box", "cat")
	cmd.Stdin = bytes.NewReader(data)
	if out, code := h.run(cmd); code != 0 || sha256.Sum256([]byte(out)) != sha256.Sum256(data) {
		t.Errorf("%d of %d bytes, code %d", len(out), len(data), code)
	}
}

func TestOpenSSHTerminal(t *testing.T) {
	h := newHouse(t)
	cmd := h.tool("ssh", "-t", "box", "stty size; echo $TERM; exit 7")
	cmd.Env = append(cmd.Env, "TERM=crab-term")
	screen, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 37, Cols: 101})
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	out, _ := io.ReadAll(screen) // ends with EIO, as terminals do
	if err, ok := cmd.Wait().(*exec.ExitError); !ok || err.ExitCode() != 7 {
		t.Errorf("ended with %v", err)
	}
	if got := string(out); !strings.HasPrefix(got, "37 101\r\ncrab-term\r\n") {
		t.Errorf("got %q", got)
	}
}

func TestOpenSSHBackground(t *testing.T) {
	h := newHouse(t)
	out, code := h.run(h.tool("ssh", "box", "sleep 1000 & echo $!"))
	endProcess(t, strings.TrimSpace(out))
	if code != 0 {
		t.Errorf("code %d", code)
	}
}

func TestOpenSSHCopies(t *testing.T) {
	h := newHouse(t)
	local := t.TempDir()
	data := bytes.Repeat([]byte("crab"), 1<<18)
	from := filepath.Join(local, "from")
	if err := os.WriteFile(from, data, 0o640); err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, file string) {
		t.Helper()
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", file, len(got), err)
		}
	}
	t.Run("sftp", func(t *testing.T) {
		back := filepath.Join(local, "sftp-back")
		cmd := h.tool("sftp", "-b", "-", "box")
		cmd.Stdin = strings.NewReader("put " + from + " put-here\nmkdir d\nrename put-here d/moved\nget d/moved " + back + "\nrm d/moved\nrmdir d\n")
		if out, code := h.run(cmd); code != 0 {
			t.Fatalf("code %d: %s", code, out)
		}
		check(t, back)
		if _, err := os.Stat(filepath.Join(h.dir, "d")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the folder is still there: %v", err)
		}
	})
	t.Run("scp", func(t *testing.T) {
		back := filepath.Join(local, "scp-back")
		if _, code := h.run(h.tool("scp", from, "box:copied")); code != 0 {
			t.Fatalf("code %d", code)
		}
		check(t, filepath.Join(h.dir, "copied"))
		if _, code := h.run(h.tool("scp", "box:copied", back)); code != 0 {
			t.Fatalf("code %d", code)
		}
		check(t, back)
	})
	t.Run("no such file", func(t *testing.T) {
		if _, code := h.run(h.tool("scp", "box:nothing", local)); code == 0 {
			t.Error("nothing was copied, and that was a success")
		}
	})
}

// forwarding keeps ssh running with a forward until the test ends. It returns
// when the forward is there.
func (h *house) forwarding(t *testing.T, option, spec string) {
	t.Helper()
	cmd := h.tool("ssh", option, spec, "box", "echo up; cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("ssh %s: %v", option, err)
		}
	})
	if got := readLine(t, out); got != "up" {
		t.Fatalf("got %q", got)
	}
}

// freePort is a port of 127.0.0.1 that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func TestOpenSSHForwards(t *testing.T) {
	h := newHouse(t)
	tcp := service(t, "tcp", "127.0.0.1:0", reply).String()
	socket := service(t, "unix", filepath.Join(h.dir, "service"), reply).String()
	near := filepath.Join(h.dir, "near")
	for _, row := range []struct{ name, option, from, to string }{
		{"local", "-L", "127.0.0.1:" + freePort(t), tcp},
		{"local to socket", "-L", "127.0.0.1:" + freePort(t), socket},
		{"local socket", "-L", near + "-L", socket},
		{"remote", "-R", "127.0.0.1:" + freePort(t), tcp},
		{"remote socket", "-R", near + "-R", socket},
	} {
		t.Run(row.name, func(t *testing.T) {
			h.forwarding(t, row.option, row.from+":"+row.to)
			network := "tcp"
			if filepath.IsAbs(row.from) {
				network = "unix"
			}
			for range 2 {
				conn, err := net.Dial(network, row.from)
				wantAnswer(t, conn, err, "hello by "+row.name)
			}
		})
	}
}

func TestOpenSSHDynamicRemotePort(t *testing.T) {
	h := newHouse(t)
	tcp := service(t, "tcp", "127.0.0.1:0", reply).String()
	cmd := h.tool("ssh", "-o", "LogLevel=INFO", "-N", "-R", "0:"+tcp, "box")
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(readLine(t, said)) // "Allocated port 12345 for remote forward to ..."
	if len(words) < 3 {
		t.Fatalf("ssh said %q", words)
	}
	conn, err := net.Dial("tcp", "127.0.0.1:"+words[2])
	wantAnswer(t, conn, err, "hello")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// This is what ProxyJump does.
func TestOpenSSHStdioForward(t *testing.T) {
	h := newHouse(t)
	to := service(t, "tcp", "127.0.0.1:0", reply)
	cmd := h.tool("ssh", "-W", to.String(), "box")
	cmd.Stdin = strings.NewReader("hello")
	if out, code := h.run(cmd); code != 0 || out != "got hello" {
		t.Errorf("%q, %d", out, code)
	}
}
