//go:build unix

package agent_test

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"crabbox/internal/agent/api"
	"crabbox/internal/agent/client"
	"crabbox/internal/fault"
	"crabbox/internal/mesh"
)

// A hundred watchers all see a cut and its healing, and all end with the agent,
// killed as it is.
func TestHundredWatchers(t *testing.T) {
	w := newWorld(t)
	w.box(w.crew, "web", "8080").says(8080, "web")
	c := w.connect()
	if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{}); err != nil {
		t.Fatal(err)
	}
	w.usable(c, w.crew)
	const n = 100
	began, healed, ended := make(chan struct{}, n), make(chan struct{}, n), make(chan error, n)
	for range n {
		go func() {
			lines, done := 0, false
			ended <- c.Watch(ctxOf(t), w.crew, api.WatchRequest{}, func(crew api.Crew) error {
				if lines++; lines == 1 {
					began <- struct{}{}
				}
				if m := crew.Members[0]; m.Heals == 1 && m.State == mesh.Up && !done {
					done = true
					healed <- struct{}{}
				}
				return nil
			})
		}()
	}
	ctx := ctxOf(t)
	take := func(what string, from chan struct{}) {
		t.Helper()
		for i := range n {
			select {
			case <-from:
			case <-ctx.Done():
				t.Fatalf("only %d of %d watchers %s", i, n, what)
			}
		}
	}
	take("began", began)
	if err := c.Cut(ctx, w.crew, "web"); err != nil {
		t.Fatal(err)
	}
	take("saw the healing", healed)
	pid := w.pid(c)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range n {
		if err := <-ended; !errors.Is(err, client.ErrGone) || fault.KindOf(err) != fault.NotFound {
			t.Fatalf("a watcher of a dead agent: %v", err)
		}
	}
	w.ended(pid)
}

func TestWatchEndsAsItsCallerSays(t *testing.T) {
	w := newWorld(t)
	w.box(w.crew, "web", "8080")
	c := w.connect()
	if err := c.Watch(ctxOf(t), w.crew, api.WatchRequest{}, nil); fault.KindOf(err) != fault.NotFound || errors.Is(err, client.ErrGone) {
		t.Errorf("watch of a crew that is not connected: %v", err)
	}
	enough := errors.New("enough")
	if err := c.Watch(ctxOf(t), w.crew, api.WatchRequest{Hold: true}, func(api.Crew) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("seen's error: %v", err)
	}
	ctx, cancel := context.WithCancel(ctxOf(t))
	if err := c.Watch(ctx, w.crew, api.WatchRequest{Hold: true}, func(api.Crew) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	eventually(t, "the crew without holders gone", func() error {
		if crews, err := c.Crews(ctxOf(t)); err != nil || len(crews) != 0 {
			return errors.Join(err, errors.New("still connected"))
		}
		return nil
	})
}
