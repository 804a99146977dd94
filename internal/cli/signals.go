package cli

import (
	"context"
	"os"
	"sync"
	"time"
)

// signals is the one reader of the process's signals.
//
//	free   -- INT, TERM, HUP -->  ending: the context ends, the command cleans up
//	ending -- the next one   -->  warned: a word that cleaning is under way
//	warned -- the next one   -->  the program leaves at once
//
//	free   -- forward()      -->  taken:  signals go to the command on the box
//	taken  -- release        -->  free
//	taken  -- the third INT, or 3 s after TERM or HUP --> ending
//
// Leaving at once loses no box: each one stands in the store since before it
// was created.
type signals struct {
	cancel context.CancelFunc
	warn   func()
	leave  func()

	mu       sync.Mutex
	forward  chan<- string // not nil: taken
	count    int           // signals since taken
	ending   bool
	warned   bool
	deadline *time.Timer // of a TERM or HUP that was passed on
}

// termGrace is how long a command on a box may take to end after TERM or HUP.
const termGrace = 3 * time.Second

// watchSignals returns a context that ends at the first signal. end stops the
// reader and waits for it.
func (a *app) watchSignals(parent context.Context) (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancel(parent)
	a.signals = &signals{
		cancel: cancel,
		warn:   func() { a.out.say("still cleaning up; once more to leave at once") },
		leave:  func() { os.Exit(exitInterrupted) },
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case s := <-a.io.Signals:
				a.signals.received(s)
			case <-done:
				return
			}
		}
	}()
	return ctx, func() { close(done); <-stopped; a.signals.release(); cancel() }
}

// take passes signals to the command on a box from now on, until release. The
// channel is never closed.
func (s *signals) take() (names <-chan string, release func()) {
	forward := make(chan string, 8)
	s.mu.Lock()
	s.forward, s.count = forward, 0
	s.mu.Unlock()
	return forward, s.release
}

func (s *signals) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forward = nil
	if s.deadline != nil {
		s.deadline.Stop()
		s.deadline = nil
	}
}

func (s *signals) received(sig os.Signal) {
	name, ends := signalName(sig)
	if name == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forward != nil && !s.ending {
		s.passLocked(name)
		return
	}
	switch {
	case !ends:
	case !s.ending:
		s.endLocked()
	case !s.warned:
		s.warned = true
		s.warn()
	default:
		s.leave()
	}
}

func (s *signals) passLocked(name string) {
	select {
	case s.forward <- name:
	default: // the command is not listening; the count below still ends it
	}
	switch name {
	case "INT":
		if s.count++; s.count >= 3 {
			s.endLocked()
		}
	case "TERM", "HUP":
		if s.deadline == nil {
			s.deadline = time.AfterFunc(termGrace, s.cancel)
		}
	}
}

func (s *signals) endLocked() {
	s.ending = true
	s.cancel()
}
