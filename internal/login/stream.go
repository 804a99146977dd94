package login

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"crabbox/internal/box"
)

// headStart is how long an address is tried alone before the next one joins
// the race (RFC 8305 recommends this value).
const headStart = 250 * time.Millisecond

// dial opens the raw byte stream to t.
func (d *Dialer) dial(ctx context.Context, t Target) (net.Conn, error) {
	e := t.Endpoint
	if len(e.Jump) > 0 {
		return d.dialJump(ctx, t)
	}
	switch e.Dialer {
	case box.DialTCP:
		return race(ctx, e.Addrs)
	case box.DialUnix:
		var plain net.Dialer
		return plain.DialContext(ctx, "unix", e.Socket)
	case box.DialCommand:
		return startCommand(e.Command)
	case box.DialOpener:
		if t.Open == nil {
			return nil, errors.New("its provider gave no way to open a stream")
		}
		return t.Open(ctx)
	default:
		return nil, fmt.Errorf("the endpoint has no known dialer (%q)", e.Dialer)
	}
}

// race connects to the first address that answers. Each has a head start over
// the next; one that fails hands over at once. All attempts have ended when it
// returns.
func race(ctx context.Context, addrs []string) (net.Conn, error) {
	if len(addrs) == 0 {
		return nil, errors.New("the endpoint has no address")
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	var (
		won    = make(chan net.Conn) // taken once; losers see ctx end
		errs   = make([]error, len(addrs))
		failed = make([]chan struct{}, len(addrs))
	)
	for i, addr := range addrs {
		failed[i] = make(chan struct{})
		running.Go(func() {
			defer close(failed[i])
			if !waitTurn(ctx, i, failed) {
				errs[i] = ctx.Err()
				return
			}
			var plain net.Dialer
			conn, err := plain.DialContext(ctx, "tcp", addr)
			if err != nil {
				errs[i] = err
				return
			}
			select {
			case won <- conn:
			case <-ctx.Done():
				conn.Close()
			}
		})
	}
	for _, lost := range failed {
		select {
		case conn := <-won:
			return conn, nil
		case <-lost:
		}
	}
	return nil, errors.Join(errs...)
}

// waitTurn waits until runner i may start: its head starts are over or the
// runner before it has failed. It reports false when ctx ended first.
func waitTurn(ctx context.Context, i int, failed []chan struct{}) bool {
	if i == 0 {
		return true
	}
	timer := time.NewTimer(time.Duration(i) * headStart)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-failed[i-1]:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// stream is the connection that a handshake runs over. It remembers that the
// network failed, which x/crypto/ssh does not tell apart from a refused key,
// and ends the questions of the handshake when it is closed.
type stream struct {
	net.Conn
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	err    atomic.Pointer[error] // the first failed read or write
}

func newStream(ctx context.Context, conn net.Conn) *stream {
	s := &stream{Conn: conn}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return s
}

// NetConn returns the connection underneath, as tls.Conn does.
func (s *stream) NetConn() net.Conn { return s.Conn }

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.note(err)
	return n, err
}

func (s *stream) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	s.note(err)
	return n, err
}

func (s *stream) Close() error {
	s.cancel()
	return s.Conn.Close()
}

func (s *stream) note(err error) {
	if err != nil {
		s.err.CompareAndSwap(nil, &err)
	}
}

// lost returns what broke the stream, nil while it works.
func (s *stream) lost() error {
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}
