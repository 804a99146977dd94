package login

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/sshdtest"
)

// init lets the test binary stand in for nc, which a machine may lack.
func init() {
	if addr := os.Getenv("CBX_TEST_NC"); addr != "" {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			fmt.Fprintln(os.Stderr, "nc:", err)
			os.Exit(3)
		}
		go func() {
			io.Copy(conn, os.Stdin)
			conn.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(os.Stdout, conn)
		os.Exit(0)
	}
}

// viaCommand is target behind a ProxyCommand.
func viaCommand(s *sshdtest.Server, command string) Target {
	to := target(s)
	to.Endpoint.Dialer, to.Endpoint.Command = box.DialCommand, command
	return to
}

// netcat is a ProxyCommand to addr.
func netcat(t *testing.T, addr string) string {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return "env CBX_TEST_NC=" + addr + " '" + me + "'"
}

func TestProxyCommand(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	mustConnect(t, newDialer(t), viaCommand(s, netcat(t, s.Addr)))
}

func TestProxyCommandThatFails(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	mustFail(t, newDialer(t), viaCommand(s, "sh -c 'echo first >&2; printf \"no \\033[31m way\" >&2; exit 7'"), fault.Failed, "exit status 7", `no \x1b[31m way`)
	mustFail(t, newDialer(t), viaCommand(s, "/does/not/exist"), fault.Failed, "proxy command ended")
	mustFail(t, newDialer(t), viaCommand(s, " "), fault.Failed, "proxy command is empty")
	mustFail(t, newDialer(t), viaCommand(s, netcat(t, "127.0.0.1:1")), fault.Failed, "exit status 3", "refused")
}

func TestProxyCommandDeadlines(t *testing.T) {
	conn, err := startCommand("cat")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read: %v", err)
	}
	conn.SetDeadline(time.Time{}) // and it works again
	if _, err := io.WriteString(conn, "ping"); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, 4)
	if _, err := io.ReadFull(conn, back); err != nil || string(back) != "ping" {
		t.Fatalf("%q, %v", back, err)
	}
}

// All that a command wrote before it ended arrives, then why it ended.
func TestProxyCommandLastWords(t *testing.T) {
	conn, err := startCommand("sh -c 'head -c 300000 /dev/zero; echo over >&2; exit 3'")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	data, err := io.ReadAll(conn)
	if err == nil || len(data) != 300000 {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	if !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "over") {
		t.Errorf("the reason is %v", err)
	}
}

// hop makes s a jump host that is logged in to with its own key.
func hop(s *sshdtest.Server) box.Endpoint { return target(s).Endpoint }

func TestJumpHosts(t *testing.T) {
	first, second := sshdtest.Start(t, sshdtest.Options{}), sshdtest.Start(t, sshdtest.Options{})
	s := sshdtest.Start(t, sshdtest.Options{})
	to := target(s)
	to.Endpoint.Jump = []box.Endpoint{hop(first), hop(second)}
	client := mustConnect(t, newDialer(t), to)
	if !second.LogContains("Accepted publickey") || !first.LogContains("Accepted publickey") {
		t.Error("a hop was not logged in to")
	}
	// Deadlines work over an SSH channel too: the mesh counts on them.
	conn, _, err := newDialer(t).Dial(soon(t), to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	banner := make([]byte, 4)
	if _, err := io.ReadFull(conn, banner); err != nil || string(banner) != "SSH-" {
		t.Fatalf("%q, %v", banner, err)
	}
	conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := io.Copy(io.Discard, conn); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	// A hop that dies takes the connection with it.
	first.Stop()
	ended := make(chan struct{})
	go func() {
		client.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(rejoin):
		t.Fatal("the connection outlived its jump host")
	}
}

func TestJumpHostsAreVerified(t *testing.T) {
	gate, s := sshdtest.Start(t, sshdtest.Options{}), sshdtest.Start(t, sshdtest.Options{})
	to := target(s)
	to.Endpoint.Jump = []box.Endpoint{hop(gate)}

	bad := to
	bad.Endpoint.Jump = []box.Endpoint{hop(gate)}
	bad.Endpoint.Jump[0].HostKey.Keys = []string{keyText(newKey(t))}
	mustFail(t, newDialer(t), bad, fault.Conflict, "jump host", gate.Addr[strings.IndexByte(gate.Addr, ':')+1:], "has changed")

	bad.Endpoint.Jump = []box.Endpoint{hop(gate)}
	bad.Endpoint.Jump[0].Identity.Files = nil
	mustFail(t, newDialer(t), bad, fault.Credentials, "jump host", "refused the login")

	// An unknown hop is pinned by its place, the box behind it by its name.
	d := newDialer(t)
	open := unknown(s)
	open.Endpoint.Jump = []box.Endpoint{hop(gate)}
	open.Endpoint.Jump[0].HostKey = box.HostKey{}
	mustConnect(t, d, open)
	for name, want := range map[string]ssh.PublicKey{knownhosts.Normalize(gate.Addr): gate.HostKey, "web": s.HostKey} {
		if keys, _ := d.Pins.Pinned(name); len(keys) != 1 || !sameKey(keys[0], want) {
			t.Errorf("pinned for %s: %v", name, keys)
		}
	}

	to.Endpoint.Addrs = []string{"127.0.0.1:1"}
	mustFail(t, newDialer(t), to, fault.Failed, "has no way on")
}

func TestJumpHostThatForbidsForwarding(t *testing.T) {
	gate, s := sshdtest.Start(t, sshdtest.Options{Config: []string{"AllowTcpForwarding no"}}), sshdtest.Start(t, sshdtest.Options{})
	to := target(s)
	to.Endpoint.Jump = []box.Endpoint{hop(gate)}
	mustFail(t, newDialer(t), to, fault.Failed, "has no way on", "prohibited")
}

func TestJumpThroughAProxyCommand(t *testing.T) {
	gate, s := sshdtest.Start(t, sshdtest.Options{}), sshdtest.Start(t, sshdtest.Options{})
	to := target(s)
	to.Endpoint.Jump = []box.Endpoint{viaCommand(gate, netcat(t, gate.Addr)).Endpoint}
	mustConnect(t, newDialer(t), to)
}

func TestMuteServerBehindAJumpHost(t *testing.T) {
	t.Parallel()
	gate := sshdtest.Start(t, sshdtest.Options{})
	addr := fakeServer(t, "tcp", "127.0.0.1:0", func(c net.Conn) { io.Copy(io.Discard, c) })
	to := target(gate)
	to.Endpoint.Jump, to.Endpoint.Addrs = []box.Endpoint{hop(gate)}, []string{addr.String()}
	_, err := newDialer(t).Connect(within(t, time.Second), to)
	checkFault(t, err, fault.Timeout)
}

func TestRacePrefersTheFirstAddressAndFallsBack(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	other := fakeServer(t, "tcp", "127.0.0.1:0", func(c net.Conn) { io.Copy(io.Discard, c) })
	conn, err := race(soon(t), []string{s.Addr, other.String()})
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.RemoteAddr().String(); got != s.Addr {
		t.Errorf("took %s, the second one", got)
	}
	conn.Close()

	to := target(s)
	to.Endpoint.Addrs = []string{"127.0.0.1:1", "no such name.invalid:22", s.Addr}
	start := time.Now()
	mustConnect(t, newDialer(t), to)
	if took := time.Since(start); took > rejoin {
		t.Errorf("took %s", took)
	}

	to.Endpoint.Addrs = []string{"127.0.0.1:1", "127.0.0.1:2"}
	mustFail(t, newDialer(t), to, fault.Failed, "127.0.0.1:1", "127.0.0.1:2", "refused")
	to.Endpoint.Addrs = nil
	mustFail(t, newDialer(t), to, fault.Failed, "no address")
	to.Endpoint.Dialer = "carrier pigeon"
	mustFail(t, newDialer(t), to, fault.Failed, "no known dialer")
}
