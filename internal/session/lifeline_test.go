//go:build unix

package session_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"crabbox/internal/session"
)

// freezer is a way to a host that can stop carrying bytes without a word, as a
// laptop's does that changes its network.
type freezer struct {
	net.Listener
	host   string
	frozen chan struct{}
	work   sync.WaitGroup
}

// behindFreezer returns a host that is reached through a freezer.
func behindFreezer(t *testing.T, h host) (host, *freezer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &freezer{Listener: l, host: h.addr, frozen: make(chan struct{})}
	f.work.Go(f.serve)
	t.Cleanup(func() {
		l.Close()
		f.work.Wait()
	})
	h.addr = l.Addr().String()
	return h, f
}

func (f *freezer) serve() {
	for {
		near, err := f.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", f.host)
		if err != nil {
			near.Close()
			return
		}
		f.work.Go(func() { f.carry(far, near) })
		f.work.Go(func() { f.carry(near, far) })
	}
}

// carry copies until src ends. Once frozen it takes bytes and gives none.
func (f *freezer) carry(dst, src net.Conn) {
	defer dst.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-f.frozen:
		default:
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
	}
}

func TestCancelOnADeadConnection(t *testing.T) {
	t.Parallel()
	for name, cmd := range map[string]session.Command{
		"plain":         {Line: "echo ready; exec sleep 60"},
		"terminal":      {Line: "echo ready; exec sleep 60", Terminal: true},
		"while sending": {Line: "echo ready; cat >/dev/null", Stdin: endless{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, f := behindFreezer(t, startBox(t))
			c := h.connect(t)
			ctx, cancel := context.WithCancel(t.Context())
			out := &notice{"ready", make(chan struct{}), nil}
			var cancelled time.Time
			go func() {
				<-out.said
				close(f.frozen)
				cancelled = time.Now()
				cancel()
			}()
			cmd.Stdout = out
			_, err := session.Run(ctx, c, cmd)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			if took := time.Since(cancelled); took > 6*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// The path is dead before the command can be asked for.
func TestCancelWhileOpening(t *testing.T) {
	t.Parallel()
	h, f := behindFreezer(t, startBox(t))
	c := h.connect(t)
	close(f.frozen)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := session.Run(ctx, c, session.Command{Line: "true"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestKeepAliveNoticesADeadConnection(t *testing.T) {
	onEachHost(t, func(t *testing.T, h host) {
		h, f := behindFreezer(t, h)
		c := h.connect(t)
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		done := make(chan struct{})
		go func() {
			defer close(done)
			session.KeepAlive(c, time.Millisecond, 500*time.Millisecond)
		}()
		// A living connection outlives many a pulse.
		for range 20 {
			if code, _, _ := run(t, c, session.Command{Line: "exit 2"}); code != 2 {
				t.Fatalf("code %d", code)
			}
		}
		close(f.frozen)
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("the dead connection was not noticed")
		}
		<-ended
	})
}
