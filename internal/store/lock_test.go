package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"crabbox/internal/fault"
)

func TestLockIsTakenByOneAtATime(t *testing.T) {
	s := newStore(t)
	var inside, most int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			unlock, err := s.Lock(t.Context(), "x")
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			count := func(by int) {
				mu.Lock()
				defer mu.Unlock()
				inside += by
				most = max(most, inside)
			}
			count(1)
			if err := s.WriteFile(nil, "busy"); err != nil { // some time inside
				t.Error(err)
			}
			count(-1)
		})
	}
	wg.Wait()
	if most != 1 {
		t.Errorf("%d had the lock at once", most)
	}
}

func TestLockEndsWithItsContext(t *testing.T) {
	s := newStore(t)
	unlock, err := s.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = s.Lock(short, "x")
	checkFault(t, err, fault.Timeout, "Another crabbox command")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = s.Lock(ended, "x"); !errors.Is(err, context.Canceled) || errors.Is(err, fault.Timeout) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := s.Lock(t.Context(), "../x"); !errors.Is(err, fault.Usage) {
		t.Errorf("a lock elsewhere: %v", err)
	}
}

const lockHolder = "CRABBOX_TEST_LOCK_HOLDER"

// A process that is killed with the lock leaves it free.
func TestLockEndsWithItsProcess(t *testing.T) {
	if root := os.Getenv(lockHolder); root != "" {
		if _, err := (&Store{root: root}).Lock(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		fmt.Println("held")
		select {}
	}
	s := newStore(t)
	child := exec.Command(os.Args[0], "-test.run=^TestLockEndsWithItsProcess$")
	child.Env = append(os.Environ(), lockHolder+"="+s.root)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "held" {
	}
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = s.Lock(short, "x")
	if !errors.Is(err, fault.Timeout) {
		t.Errorf("while the other process lives: %v", err)
	}
	child.Process.Kill()
	child.Wait()
	long, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	unlock, err := s.Lock(long, "x")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
