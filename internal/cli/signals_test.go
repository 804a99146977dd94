package cli

import (
	"context"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// started returns signals as in a running program, and what happened to them.
func started(t *testing.T) (s *signals, ctx context.Context, warned, left *int) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	warned, left = new(int), new(int)
	return &signals{cancel: cancel, warn: func() { *warned++ }, leave: func() { *left++ }}, ctx, warned, left
}

func TestSignalsEndTheWorkThenWarnThenLeave(t *testing.T) {
	s, ctx, warned, left := started(t)
	s.received(os.Interrupt)
	if ctx.Err() == nil || *warned != 0 {
		t.Fatalf("after the first: context %v, %d warnings", ctx.Err(), *warned)
	}
	s.received(os.Interrupt)
	if *warned != 1 || *left != 0 {
		t.Fatalf("after the second: %d warnings, left %d times", *warned, *left)
	}
	s.received(syscall.SIGTERM)
	if *left != 1 {
		t.Fatalf("after the third: left %d times", *left)
	}
}

func TestTakenSignalsReachTheCommandOnTheBox(t *testing.T) {
	s, ctx, _, _ := started(t)
	names, release := s.take()
	s.received(os.Interrupt)
	s.received(os.Interrupt)
	for range 2 {
		if got := <-names; got != "INT" {
			t.Fatalf("got %s", got)
		}
	}
	if ctx.Err() != nil {
		t.Fatal("two Ctrl-C ended more than the command")
	}
	s.received(os.Interrupt)
	if ctx.Err() == nil {
		t.Fatal("a command that ignores Ctrl-C cannot be left")
	}
	release()
}

func TestTermEndsACommandThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx, _, _ := started(t)
		names, release := s.take()
		defer release()
		s.received(syscall.SIGTERM)
		if got := <-names; got != "TERM" {
			t.Fatalf("got %s", got)
		}
		time.Sleep(termGrace - time.Millisecond)
		if ctx.Err() != nil {
			t.Fatal("the command got no time to end")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if ctx.Err() == nil {
			t.Fatal("TERM did not end the work")
		}
	})
}

func TestReleasedSignalsEndTheWorkAgain(t *testing.T) {
	s, ctx, warned, _ := started(t)
	_, release := s.take()
	s.received(os.Interrupt)
	release()
	s.received(os.Interrupt)
	if ctx.Err() == nil || *warned != 0 {
		t.Fatalf("context %v, %d warnings", ctx.Err(), *warned)
	}
}
