package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

const (
	lockPoll  = 10 * time.Millisecond
	briefWait = 10 * time.Second
)

// Lock takes the named lock among all processes of this user, or fails when
// ctx ends. The lock ends with unlock or with the process. It is the file
// NAME.lock; it cannot be taken twice, not even by the same goroutine.
func (s *Store) Lock(ctx context.Context, name string) (unlock func(), err error) {
	path, err := s.inside(name + ".lock")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, writeFault(path, err)
	}
	lock := flock.New(path)
	_, err = lock.TryLockContext(ctx, lockPoll)
	switch {
	case err == nil:
		return func() { lock.Unlock() }, nil
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fault.New(fault.Timeout, "Another crabbox command holds it; wait for that one to end, then try again.", "waiting for %s: %w", path, err)
	case errors.Is(err, context.Canceled):
		return nil, fault.New(fault.Failed, "", "waiting for %s: %w", path, err)
	}
	return nil, writeFault(path, err)
}

// LockLease takes the right to create or destroy one lease's box. It is held
// across calls to the provider, by one command at a time; records are guarded
// by a lock of their own, so everybody else can read and update meanwhile.
func (s *Store) LockLease(ctx context.Context, id box.ID) (unlock func(), err error) {
	return s.Lock(ctx, leaseLock(id))
}

func leaseLock(id box.ID) string { return "leases/" + string(id) }

// lockBriefly is Lock for the room's own short writes, which nobody holds for
// longer than a few syncs of the disk.
func (s *Store) lockBriefly(name string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(context.Background(), briefWait)
	defer cancel()
	return s.Lock(ctx, name)
}

// LeaseHeld tells whether some command holds the lease's lock now.
func (s *Store) LeaseHeld(id box.ID) bool {
	lock := flock.New(s.Path(leaseLock(id)+".lock"), flock.SetFlag(os.O_RDONLY)) // looking makes no file
	got, err := lock.TryLock()
	if got {
		lock.Unlock()
	}
	return err == nil && !got
}
