package mesh_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"crabbox/internal/mesh"
	"crabbox/internal/mesh/meshtest"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(callEnv); address != "" {
		os.Exit(call(address))
	}
	goleak.VerifyTestMain(m)
}

// callEnv makes the test binary a caller: it calls the address, says something
// and ends with one of the codes below.
const callEnv = "CRABBOX_MESH_CALL"

const (
	heard     = 0
	turnedOff = 3
)

func call(address string) int {
	c, err := net.Dial("tcp", address)
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err = io.WriteString(c, "hello"); err == nil {
			_, err = io.ReadFull(c, make([]byte, 5))
		}
	}
	switch {
	case err == nil:
		return heard
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return turnedOff
	}
	return 1
}

// start runs a mesh until the test ends and checks that it ends then.
func start(t *testing.T, o mesh.Options) *mesh.Mesh {
	t.Helper()
	m := mesh.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return m
}

// peer describes a box with forwards to its ports, on free local ports.
func peer(id string, b *meshtest.Box, targets ...string) mesh.Peer {
	p := mesh.Peer{ID: id, Dial: b.Dial}
	for _, target := range targets {
		p.Forwards = append(p.Forwards, mesh.Forward{Target: target, Listen: []netip.AddrPort{loopback(0)}})
	}
	return p
}

func loopback(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
}

func apply(t *testing.T, m *mesh.Mesh, peers ...mesh.Peer) {
	t.Helper()
	if err := m.Apply(peers); err != nil {
		t.Fatal(err)
	}
}

// until waits for a snapshot that ok accepts.
func until(t *testing.T, m *mesh.Mesh, what string, ok func(mesh.Snapshot) bool) mesh.Snapshot {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		changed := m.Changed()
		s := m.Snapshot()
		if ok(s) {
			return s
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("not within 30 s: %s; last seen %+v", what, s)
		}
	}
}

func linkIs(id string, state mesh.LinkState) func(mesh.Snapshot) bool {
	return func(s mesh.Snapshot) bool { return link(s, id).State == state }
}

// forwardsAre tells whether all forwards of a link are in one state.
func forwardsAre(id string, state mesh.ForwardState) func(mesh.Snapshot) bool {
	return func(s mesh.Snapshot) bool {
		l := link(s, id)
		for _, f := range l.Forwards {
			if f.State != state {
				return false
			}
		}
		return len(l.Forwards) > 0
	}
}

func link(s mesh.Snapshot, id string) mesh.LinkStatus {
	for _, l := range s.Links {
		if l.ID == id {
			return l
		}
	}
	return mesh.LinkStatus{}
}

// localOf is where callers reach the first forward of a link.
func localOf(m *mesh.Mesh, id string) string {
	return link(m.Snapshot(), id).Forwards[0].Local.String()
}

// dial calls a forward over TCP.
func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// say writes text and checks that it comes back.
func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != text {
		t.Fatalf("got %q, want %q", got, text)
	}
}

// memory listens in memory, so that callers work under fake time.
type memory struct {
	mu        sync.Mutex
	listeners map[netip.AddrPort]*memoryListener
}

func (n *memory) listen(a netip.AddrPort) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners = map[netip.AddrPort]*memoryListener{}
	}
	if n.listeners[a] != nil {
		return nil, errors.New("address in use")
	}
	l := &memoryListener{net: n, addr: a, calls: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[a] = l
	return l, nil
}

// call connects to a listener; the connection fails when nobody listens.
func (n *memory) call(a netip.AddrPort) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[a]
	n.mu.Unlock()
	if l == nil {
		return nil, errors.New("nobody listens")
	}
	ours, theirs := net.Pipe()
	select {
	case l.calls <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

type memoryListener struct {
	net    *memory
	addr   netip.AddrPort
	calls  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.calls:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		delete(l.net.listeners, l.addr)
	})
	return nil
}

func (l *memoryListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }
