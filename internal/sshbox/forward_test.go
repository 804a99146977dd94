package sshbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/sshbox"
)

// service answers each connection to a listener of the test with handle.
func service(t *testing.T, network, address string, handle func(net.Conn)) net.Addr {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		answer(l, handle)
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr()
}

func answer(l net.Listener, handle func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(patience))
			handle(c)
		}()
	}
}

// reply reads to the end, then says what it got: it needs both half-closes.
func reply(c net.Conn) {
	got, err := io.ReadAll(c)
	if err == nil {
		_, _ = fmt.Fprintf(c, "got %s", got)
	}
}

// ask is the other side of reply.
func ask(c net.Conn, text string) (string, error) {
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return "", err
	}
	got, err := io.ReadAll(c)
	return string(got), err
}

func wantAnswer(t *testing.T, c net.Conn, err error, text string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ask(c, text); err != nil || got != "got "+text {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDirect(t *testing.T) {
	h := newHouse(t)
	c := h.dial()
	tcp := service(t, "tcp", "127.0.0.1:0", reply)
	socket := service(t, "unix", filepath.Join(h.dir, "service"), reply)
	_, port, _ := net.SplitHostPort(tcp.String())
	for _, to := range [][2]string{
		{"tcp", tcp.String()}, {"tcp", "localhost:" + port}, {"unix", socket.String()}, {"unix", "service"},
	} {
		t.Run(strings.Join(to[:], " "), func(t *testing.T) {
			conn, err := c.Dial(to[0], to[1])
			wantAnswer(t, conn, err, "hello")
		})
	}
}

func TestDirectToIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	to := service(t, "tcp", "[::1]:0", reply)
	conn, err := newHouse(t).dial().Dial("tcp", to.String())
	wantAnswer(t, conn, err, "hello")
}

// The target ends its direction first; ours must stay open.
func TestTargetEndsFirst(t *testing.T) {
	heard := make(chan string, 1)
	to := service(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		_, _ = io.WriteString(c, "bye")
		_ = c.(*net.TCPConn).CloseWrite()
		got, _ := io.ReadAll(c)
		heard <- string(got)
	})
	conn, err := newHouse(t).dial().Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "bye" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := io.WriteString(conn, "still here"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close() // at once, without the end of our direction
	if got := <-heard; got != "still here" {
		t.Errorf("the target heard %q", got)
	}
}

// closeTeller tells when it is closed.
type closeTeller struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closeTeller) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// A target that says nothing and hears nothing does not hold a closed channel.
func TestClosedChannelEndsAnIdleTarget(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	target := &closeTeller{Conn: near, closed: make(chan struct{})}
	h := newHouse(t, func(s *sshbox.Server) {
		s.Dial = func(context.Context, string, string) (net.Conn, error) { return target, nil }
	})
	conn, err := h.dial().Dial("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-target.closed:
		t.Fatal("closed too early")
	default:
	}
	_ = conn.Close()
	select {
	case <-target.closed:
	case <-time.After(patience):
		t.Error("the target's connection stayed")
	}
}

// A target that does not read what it gets does not hold the server's end.
func TestServerEndIsNotHeldByATarget(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	h := newHouse(t, func(s *sshbox.Server) {
		s.Dial = func(context.Context, string, string) (net.Conn, error) { return near, nil }
	})
	conn, err := h.dial().Dial("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "never read"); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Read(make([]byte, 1)); err != nil { // the rest is under way now
		t.Fatal(err)
	}
	begin := time.Now()
	h.stop()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestLostConnectionEndsItsForwards(t *testing.T) {
	ended := make(chan error, 1)
	to := service(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		_, err := io.Copy(io.Discard, c)
		ended <- err
	})
	c := newHouse(t).dial()
	if _, err := c.Dial("tcp", to.String()); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if err := <-ended; errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the target's connection stayed")
	}
}

func TestRefusedForwards(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	_ = free.Close()
	plain, forbidden := newHouse(t), newHouse(t, func(s *sshbox.Server) { s.NoForwarding = true })
	picky := newHouse(t, func(s *sshbox.Server) {
		s.Dial = func(context.Context, string, string) (net.Conn, error) {
			return nil, fmt.Errorf("not today: %w", sshbox.ErrProhibited)
		}
	})
	for _, row := range []struct {
		name, network, target string
		house                 *house
		want                  ssh.RejectionReason
	}{
		{"nobody listens", "tcp", nobody, plain, ssh.ConnectionFailed},
		{"no such socket", "unix", "/nonexistent/socket", plain, ssh.ConnectionFailed},
		{"forbidden", "tcp", nobody, forbidden, ssh.Prohibited},
		{"forbidden socket", "unix", "/nonexistent/socket", forbidden, ssh.Prohibited},
		{"forbidden by Dial", "tcp", nobody, picky, ssh.Prohibited},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := row.house.dial().Dial(row.network, row.target)
			if refusal, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || refusal.Reason != row.want {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
	t.Run("malformed", func(t *testing.T) {
		for _, payload := range [][]byte{nil, ssh.Marshal(struct {
			Host       string
			Port       uint32
			Origin     string
			OriginPort uint32
		}{"127.0.0.1", 65536 + 22, "", 0})} {
			_, _, err := plain.dial().OpenChannel("direct-tcpip", payload)
			if _, ok := errors.AsType[*ssh.OpenChannelError](err); !ok {
				t.Errorf("got %v", err)
			}
		}
	})
	t.Run("reverse", func(t *testing.T) {
		if _, err := forbidden.dial().Listen("tcp", "127.0.0.1:0"); err == nil {
			t.Error("a reverse forward was granted")
		}
		if _, err := forbidden.dial().Listen("unix", filepath.Join(forbidden.dir, "socket")); err == nil {
			t.Error("a reverse forward of a socket was granted")
		}
	})
}

func TestReverse(t *testing.T) {
	h := newHouse(t)
	c := h.dial()
	l, err := c.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go answer(l, reply)
	for range 3 {
		conn, err := net.Dial("tcp", l.Addr().String())
		wantAnswer(t, conn, err, "hello")
	}
	if _, err := c.Listen("tcp", l.Addr().String()); err == nil {
		t.Error("the same port was granted twice")
	}
	if err := l.Close(); err != nil {
		t.Errorf("cancel: %v", err)
	}
	if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("still listening after cancel")
	}
	again, err := c.Listen("tcp", l.Addr().String())
	if err != nil {
		t.Fatalf("listening again: %v", err)
	}
	_ = c.Close()
	eventually(t, "the end of the listener", func() bool {
		conn, err := net.Dial("tcp", again.Addr().String())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
}

func TestReverseSocket(t *testing.T) {
	h := newHouse(t)
	c := h.dial()
	path := filepath.Join(h.dir, "reverse")
	l, err := c.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go answer(l, reply)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	conn, err := net.Dial("unix", path)
	wantAnswer(t, conn, err, "hello")
	if _, err := h.dial().Listen("unix", path); err == nil {
		t.Error("an existing socket was taken over")
	}
	if err := l.Close(); err != nil {
		t.Errorf("cancel: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's file is still there: %v", err)
	}
}

// Whatever a client asks for, only this machine can connect.
func TestReverseListensOnLoopback(t *testing.T) {
	asked := make(chan string, 1)
	h := newHouse(t, func(s *sshbox.Server) {
		s.Listen = func(ctx context.Context, network, address string) (net.Listener, error) {
			asked <- address
			return nil, errors.New("just asking")
		}
	})
	c := h.dial()
	for host, want := range map[string]string{
		"": "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "localhost": "127.0.0.1", "192.0.2.1": "127.0.0.1",
		"127.3.2.1": "127.3.2.1", "::1": "::1", "::": "::1", "2001:db8::1": "::1", "::ffff:192.0.2.1": "127.0.0.1",
	} {
		ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
			Host string
			Port uint32
		}{host, 8080}))
		if ok || err != nil {
			t.Fatalf("%q: %v, %v", host, ok, err)
		}
		if got := <-asked; got != net.JoinHostPort(want, strconv.Itoa(8080)) {
			t.Errorf("%q became %s, want %s", host, got, want)
		}
	}
}

func TestManyBytesBothWays(t *testing.T) {
	to := service(t, "tcp", "127.0.0.1:0", func(c net.Conn) { _, _ = io.Copy(c, c) })
	conn, err := newHouse(t).dial().Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	const size = 20 << 20
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(conn, zeros{}, size)
		if err == nil {
			err = conn.(interface{ CloseWrite() error }).CloseWrite()
		}
		sent <- err
	}()
	if n, err := io.Copy(io.Discard, conn); err != nil || n != size {
		t.Errorf("%d bytes back, %v", n, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
