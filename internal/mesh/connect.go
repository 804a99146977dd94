package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// handshakesPerGate is how many unfinished logins one server may see from us;
// OpenSSH's MaxStartups begins to drop connections at ten.
const handshakesPerGate = 3

// connect makes one attempt: dial, handshake, login, all within connectTimeout.
func (l *link) connect() (*session, error) {
	ctx, cancel := context.WithTimeout(l.ctx, connectTimeout)
	defer cancel()
	l.mu.Lock()
	peer := l.peer
	l.mu.Unlock()

	leave, err := l.mesh.gates.enter(ctx, peer.Gate)
	if err != nil {
		return nil, errors.New("other logins to the same server took too long")
	}
	defer leave()
	conn, config, err := peer.Dial(ctx)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, ErrGone) && !errors.Is(err, ErrRefused) {
			return nil, fmt.Errorf("no connection within %v: %w", connectTimeout, err)
		}
		return nil, err
	}
	st := &stream{Conn: conn, born: time.Now()}
	client, err := handshake(ctx, st, config)
	if err != nil {
		st.fail(err)
		return nil, err
	}
	return newSession(l, client, st), nil
}

// handshake logs in. Errors wrap ErrRefused when the host key or the login was
// refused, as against a connection that broke.
func handshake(ctx context.Context, st *stream, config *ssh.ClientConfig) (*ssh.Client, error) {
	// The library's own Timeout covers only a dial that it makes itself.
	deadline, _ := ctx.Deadline()
	if err := st.SetDeadline(deadline); err != nil {
		return nil, err
	}
	release := context.AfterFunc(ctx, func() { st.fail(ctx.Err()) })
	defer release()

	var keyErr error
	known := false
	own := *config
	own.HostKeyCallback = func(host string, addr net.Addr, key ssh.PublicKey) error {
		keyErr = config.HostKeyCallback(host, addr, key)
		known = keyErr == nil
		return keyErr
	}
	conn, chans, reqs, err := ssh.NewClientConn(st, st.RemoteAddr().String(), &own)
	switch {
	case err == nil:
	case keyErr != nil:
		return nil, refusal{keyErr}
	case ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("the SSH server did not answer within %v", connectTimeout)
	case broken(err):
		return nil, fmt.Errorf("broken off before the login: %w", lossOf(err))
	case known:
		return nil, refusal{inner(err)}
	default:
		return nil, inner(err)
	}
	if !release() {
		conn.Close()
		return nil, ctx.Err()
	}
	if err := st.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return nil, err
	}
	return ssh.NewClient(conn, chans, reqs), nil
}

// refusal is an ErrRefused that reads like its cause.
type refusal struct{ cause error }

func (r refusal) Error() string   { return r.cause.Error() }
func (r refusal) Unwrap() []error { return []error{ErrRefused, r.cause} }

// inner takes the SSH library's "handshake failed" off an error: whoever the
// callbacks belong to has said it all.
func inner(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return err
}

// broken tells whether err came from the connection, not from what was said on it.
func broken(err error) bool {
	var network net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.As(err, &network)
}

func (l *link) keepAliveInterval() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peer.KeepAlive > 0 {
		return l.peer.KeepAlive
	}
	return keepAliveInterval
}

func splitTarget(target string) (host string, port uint32, err error) {
	host, text, err := net.SplitHostPort(target)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, err
	}
	return host, uint32(n), nil
}

// gates bound the handshakes that are under way at the same time per gate. The
// zero value is ready.
type gates struct {
	mu   sync.Mutex // guards open
	open map[string]*gate
}

type gate struct {
	users int // guarded by gates.mu: inside or waiting
	slots chan struct{}
}

// enter waits for a free slot until ctx ends. leave must be called once.
func (g *gates) enter(ctx context.Context, name string) (leave func(), err error) {
	if name == "" {
		return func() {}, nil
	}
	g.mu.Lock()
	if g.open == nil {
		g.open = map[string]*gate{}
	}
	this := g.open[name]
	if this == nil {
		this = &gate{slots: make(chan struct{}, handshakesPerGate)}
		g.open[name] = this
	}
	this.users++
	g.mu.Unlock()
	forget := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if this.users--; this.users == 0 {
			delete(g.open, name)
		}
	}
	select {
	case this.slots <- struct{}{}:
		return func() { <-this.slots; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, ctx.Err()
	}
}
