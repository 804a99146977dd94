// Package meshtest is an SSH box in memory, for tests of package mesh: it can
// be cut, frozen, slowed, and can change its key. It opens no sockets and keeps
// no real time, so it works under testing/synctest. The SSH server in it is
// sshbox, the same that real local boxes run.
package meshtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/sshbox"
)

// ErrHostKey is what the client's host key check answers after ChangeKey.
var ErrHostKey = errors.New("the host key is not the pinned one")

// Box is a box with an SSH server. All its methods may be called at any time
// from any goroutine.
type Box struct {
	ctx    context.Context // the box's life
	cancel context.CancelFunc
	work   sync.WaitGroup // servers and services; added to under mu while not closed

	mu         sync.Mutex // guards all below
	changed    chan struct{}
	closed     bool
	userKey    ssh.Signer
	pinned     ssh.PublicKey
	hostKey    ssh.Signer
	services   map[uint16]func(net.Conn)
	links      map[*link]struct{} // whose server has not ended
	prohibited bool
	frozen     bool
	refuse     bool
	refuseKey  bool
	latency    time.Duration
	dials      int
}

// link is one connection from the operator to the box.
type link struct {
	near, far *conn
	live      bool // guarded by Box.mu: neither cut nor closed by the operator
}

// New returns a box that nobody has called yet. It ends at the end of the test
// at the latest.
func New(t testing.TB) *Box {
	t.Helper()
	host := newKey(t)
	b := &Box{
		changed:  make(chan struct{}),
		userKey:  newKey(t),
		hostKey:  host,
		pinned:   host.PublicKey(),
		services: map[uint16]func(net.Conn){},
		links:    map[*link]struct{}{},
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	t.Cleanup(b.Close)
	return b
}

func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	signer, err := makeKey()
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func makeKey() (ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(private)
}

// Close resets all connections, frozen ones too, and returns when servers and
// services have ended. Services must end when their connection does.
func (b *Box) Close() {
	b.set(func() { b.closed = true })
	b.Cut()
	b.cancel()
	b.work.Wait()
}

// set changes the box's state and wakes the dials that wait.
func (b *Box) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	close(b.changed)
	b.changed = make(chan struct{})
}

// Dial is what mesh.Peer.Dial wants: a fresh stream to the box's SSH server,
// and how to log in there with the host key that the box had at first.
func (b *Box) Dial(ctx context.Context) (net.Conn, *ssh.ClientConfig, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dials++
	for {
		switch {
		case ctx.Err() != nil:
			return nil, nil, fmt.Errorf("dial: %w", context.Cause(ctx))
		case b.closed, b.refuse && !b.frozen:
			return nil, nil, refused("box:22")
		case !b.frozen:
			return b.connectLocked(), b.configLocked(), nil
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		b.mu.Lock()
	}
}

func refused(target address) error {
	return &net.OpError{Op: "dial", Net: target.Network(), Addr: target, Err: syscall.ECONNREFUSED}
}

func (b *Box) configLocked() *ssh.ClientConfig {
	pinned := string(b.pinned.Marshal())
	return &ssh.ClientConfig{
		User: "box",
		Auth: []ssh.AuthMethod{ssh.PublicKeys(b.userKey)},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if string(key.Marshal()) != pinned {
				return ErrHostKey
			}
			return nil
		},
	}
}

// connectLocked opens a link and starts a server for it, which sees the box as
// it is now.
func (b *Box) connectLocked() *conn {
	l := &link{live: true}
	l.near, l.far = pipe("operator", "box:22", b.latency)
	l.near.closed = func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		l.live = false
	}
	b.links[l] = struct{}{}
	server := &sshbox.Server{HostKey: b.hostKey, Dial: b.call, Listen: noListener}
	if !b.refuseKey {
		server.Authorized = []ssh.PublicKey{b.userKey.PublicKey()}
	}
	b.work.Go(func() {
		_ = server.ServeConn(b.ctx, l.far) // the operator's side tells the test what went wrong
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.links, l)
	})
	return l.near
}

// noListener keeps reverse forwards from opening real sockets.
func noListener(_ context.Context, _, address string) (net.Listener, error) {
	return nil, fmt.Errorf("%s: %w", address, sshbox.ErrProhibited)
}

// call connects the SSH server with a service of the box.
func (b *Box) call(_ context.Context, network, target string) (net.Conn, error) {
	host, service, err := net.SplitHostPort(target)
	if err != nil || network != "tcp" {
		return nil, refused(address(target))
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, refused(address(target))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	serve := b.services[uint16(port)]
	switch {
	case b.prohibited:
		return nil, fmt.Errorf("%s: %w", target, sshbox.ErrProhibited)
	case b.closed, serve == nil, host != "127.0.0.1" && host != "localhost":
		return nil, refused(address(target))
	}
	near, far := pipe("sshd", address(target), 0)
	b.work.Go(func() {
		defer far.Close()
		serve(far)
	})
	return near, nil
}

// Handle makes h the service that listens on 127.0.0.1:port in the box. The
// connection is closed when h returns. Without h, connections are refused.
func (b *Box) Handle(port uint16, h func(net.Conn)) { b.set(func() { b.services[port] = h }) }

// Echo makes the service on port one that sends back what it gets.
func (b *Box) Echo(port uint16) {
	b.Handle(port, func(c net.Conn) { _, _ = io.Copy(c, c) })
}

// Prohibit makes the SSH server forbid new forwarded connections, or not.
func (b *Box) Prohibit(on bool) { b.set(func() { b.prohibited = on }) }

// Cut resets all connections of the operator.
func (b *Box) Cut() {
	b.set(func() {
		for l := range b.links {
			l.live = false
			l.near.in.reset()
			l.near.out.reset()
		}
	})
}

// Freeze makes the box a black hole: bytes stop flowing, nobody is told, and
// new dials hang.
func (b *Box) Freeze() { b.setFrozen(true) }

// Thaw ends Freeze: what was under way arrives.
func (b *Box) Thaw() { b.setFrozen(false) }

func (b *Box) setFrozen(yes bool) {
	b.set(func() {
		b.frozen = yes
		for l := range b.links {
			l.near.in.setFrozen(yes)
			l.near.out.setFrozen(yes)
		}
	})
}

// Refuse makes new dials fail at once, or not.
func (b *Box) Refuse(on bool) { b.set(func() { b.refuse = on }) }

// SetLatency delivers each write of the operator and of the box d later.
func (b *Box) SetLatency(d time.Duration) {
	b.set(func() {
		b.latency = d
		for l := range b.links {
			l.near.in.setLatency(d)
			l.near.out.setLatency(d)
		}
	})
}

// ChangeKey gives the box another host key for the handshakes of later dials.
// The operator's check keeps to the first one.
func (b *Box) ChangeKey() {
	key, err := makeKey()
	if err != nil {
		panic(err) // the system has no randomness
	}
	b.set(func() { b.hostKey = key })
}

// RefuseKey makes the servers of later dials refuse the operator's key, or not.
func (b *Box) RefuseKey(on bool) { b.set(func() { b.refuseKey = on }) }

// Dials counts the calls of Dial.
func (b *Box) Dials() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dials
}

// Live counts the connections that were neither cut nor closed by the operator.
func (b *Box) Live() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for l := range b.links {
		if l.live {
			n++
		}
	}
	return n
}
