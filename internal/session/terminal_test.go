//go:build unix

package session_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"crabbox/internal/session"
)

// The tests of terminals run this test binary once more, as a program that has
// a terminal of its own: raw mode, window changes and sudden ends are then what
// a person has.
const (
	helperAddr = "CRABBOX_TEST_SESSION_ADDR"
	helperUser = "CRABBOX_TEST_SESSION_USER"
	helperKey  = "CRABBOX_TEST_SESSION_KEY"
	helperLine = "CRABBOX_TEST_SESSION_LINE"
	helperMode = "CRABBOX_TEST_SESSION_MODE"
)

// onEachTerminalHost leaves OpenSSH out where it cannot open a terminal: its
// server gives each to the group tty, which a plain user may not do, and need
// not where /dev/pts is mounted with that group.
func onEachTerminalHost(t *testing.T, test func(t *testing.T, h host)) {
	if os.Getuid() == 0 || terminalsAreOfGroupTTY(t) {
		onEachHost(t, test)
		return
	}
	t.Log("/dev/pts is mounted without the group tty: OpenSSH has no terminals for a plain user")
	t.Run("sshbox", func(t *testing.T) { test(t, startBox(t)) })
}

func terminalsAreOfGroupTTY(t *testing.T) bool {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	info, err := slave.Stat()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroup("tty")
	return err == nil && group.Gid == strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Gid))
}

// help is the program: it runs the line on the host with its own terminal.
func help() int {
	c, err := dial(os.Getenv(helperAddr), os.Getenv(helperUser), os.Getenv(helperKey))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := session.Command{Line: os.Getenv(helperLine), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Terminal: true}
	switch os.Getenv(helperMode) {
	case "panic":
		cmd.Stdout = panicking{}
	case "cancel":
		cmd.Stdout = &trigger{cancel}
	case "cut":
		cmd.Stdout = &trigger{func() { c.Close() }}
	}
	code, err := session.Run(ctx, c, cmd)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 98
	}
	return code
}

type panicking struct{}

func (panicking) Write([]byte) (int, error) { panic("a bug in a writer") }

type trigger struct{ act func() }

func (tr *trigger) Write(p []byte) (int, error) {
	tr.act()
	return os.Stdout.Write(p)
}

// console is the helper's terminal, seen from the person's side.
type console struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	before unix.Termios
	cmd    *exec.Cmd
	read   chan struct{} // closed when reading has ended

	mu   sync.Mutex // guards seen
	seen bytes.Buffer
}

func openConsole(t *testing.T, h host, line, mode string) *console {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	c := &console{t: t, master: master, slave: slave, read: make(chan struct{})}
	c.resize(100, 30)
	c.before = c.state()
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env = append(os.Environ(), "TERM=vt220", helperAddr+"="+h.addr, helperUser+"="+h.user, helperKey+"="+h.key,
		helperLine+"="+line, helperMode+"="+mode)
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = slave, slave, slave
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.read)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			c.mu.Lock()
			c.seen.Write(buf[:n])
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		if c.cmd.ProcessState == nil {
			c.cmd.Process.Kill()
			c.cmd.Wait()
		}
		slave.Close() // the last user of the terminal: the reader sees its end
		<-c.read
		master.Close()
	})
	return c
}

func (c *console) resize(columns, rows uint16) {
	if err := pty.Setsize(c.master, &pty.Winsize{Cols: columns, Rows: rows}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *console) state() unix.Termios {
	c.t.Helper()
	state, err := unix.IoctlGetTermios(int(c.slave.Fd()), getTermios)
	if err != nil {
		c.t.Fatal(err)
	}
	return *state
}

func (c *console) typed(text string) {
	if _, err := io.WriteString(c.master, text); err != nil {
		c.t.Fatal(err)
	}
}

// await waits until the screen has shown text.
func (c *console) await(text string) {
	c.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		c.mu.Lock()
		seen := c.seen.String()
		c.mu.Unlock()
		if strings.Contains(seen, text) {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the terminal never showed %q, but %q", text, seen)
		}
	}
}

// end waits for the program's end: its code, and the terminal as it was.
func (c *console) end(want int) {
	c.t.Helper()
	c.cmd.Wait()
	if code := c.cmd.ProcessState.ExitCode(); code != want {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.t.Errorf("exit code %d, want %d; the terminal showed %q", code, want, c.seen.String())
	}
	if after := c.state(); after != c.before {
		c.t.Errorf("the terminal is left as %+v, it was %+v", after, c.before)
	}
}

func TestTerminalTypeSizeAndWindowChange(t *testing.T) {
	onEachTerminalHost(t, func(t *testing.T, h host) {
		// Asked by polling, since a trap runs only between two commands.
		c := openConsole(t, h, `echo type=$TERM; while [ "$(stty size)" != "41 132" ]; do stty size; sleep 0.02; done; echo new=$(stty size)`, "")
		c.await("type=vt220")
		c.await("30 100")
		c.resize(132, 41)
		c.await("new=41 132")
		c.end(0)
	})
}

func TestTerminalKeysReachTheBox(t *testing.T) {
	onEachTerminalHost(t, func(t *testing.T, h host) {
		c := openConsole(t, h, "echo ready; exec sleep 60", "")
		c.await("ready")
		c.typed("\x03") // Ctrl-C: a byte for the box, no signal here
		c.end(130)

		c = openConsole(t, h, `echo ready; read -r line; echo "got <$line>"; exit 6`, "")
		c.await("ready")
		c.typed("héllo\r")
		c.await("got <héllo>")
		c.end(6)
	})
}

func TestLoginShell(t *testing.T) {
	h := startBox(t)
	c := openConsole(t, h, "", "")
	c.typed("echo $((6*7)); exit 4\r")
	c.await("42")
	c.end(4)
}

func TestTerminalIsRestored(t *testing.T) {
	h := startBox(t)
	for mode, want := range map[string]int{"panic": 2, "cancel": 98, "cut": 98} {
		t.Run(mode, func(t *testing.T) { openConsole(t, h, "echo ready; exec sleep 60", mode).end(want) })
	}
}

// Without a local terminal the box still gives one, of the usual size.
func TestTerminalWithoutOneHere(t *testing.T) {
	onEachTerminalHost(t, func(t *testing.T, h host) {
		code, out, _ := run(t, h.connect(t), session.Command{
			Line: "stty size; echo $TERM; test -t 0 && test -t 1", Terminal: true, Env: map[string]string{"TERM": "dumb"},
		})
		if code != 0 || strings.ReplaceAll(out, "\r", "") != "24 80\ndumb\n" {
			t.Errorf("code %d, stdout %q", code, out)
		}
	})
}
