package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"github.com/gofrs/flock"

	"crabbox/internal/agent/api"
	"crabbox/internal/agent/client"
	"crabbox/internal/fault"
	"crabbox/internal/store"
)

const (
	lockPoll = 20 * time.Millisecond
	// lockTime is how long an agent waits for one that is ending.
	lockTime = 10 * time.Second
)

// lock is the right to be the agent of a home: a lock on agent.lock for the
// life of the process. The kernel takes it back however the process ends, so a
// file that lies there means nothing. The process id in it is for people.
type lock struct {
	path string
	file *flock.Flock
}

// acquire takes the lock. An agent that answers has it for good: Conflict. One
// that does not answer is just starting or ending and is waited for.
func acquire(ctx context.Context, home *store.Store) (*lock, error) {
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	l := &lock{path: home.Path(api.LockFile)}
	if info, err := os.Lstat(l.path); err == nil && !info.Mode().IsRegular() {
		return nil, fault.New(fault.Conflict, "Find out who put it there, remove it, and try again.", "%s is not a file", l.path)
	}
	l.file = flock.New(l.path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	for {
		mine, err := l.file.TryLock()
		if err != nil {
			l.file.Close()
			return nil, fault.New(fault.Failed, "Set CRABBOX_HOME to a folder of your own that can be written to.", "take the agent's lock: %w", err)
		}
		if mine {
			break
		}
		other, err := client.Find(ctx, client.Options{Home: home.Path(), Warn: func(string) {}})
		if err == nil {
			l.file.Close()
			return nil, conflict(ctx, other)
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			l.file.Close()
			return nil, fault.New(fault.Conflict, "End the process whose id is in "+l.path+" if it hangs.", "another agent holds the lock and does not answer: %w", ctx.Err())
		}
	}
	if !l.held() { // removed between opening and locking: the lock is on no file
		l.file.Close()
		return nil, fault.New(fault.Conflict, "Try again.", "the state folder was changed while the agent started")
	}
	// Where locks bind readers too (Windows) this is refused, and no loss.
	_ = os.WriteFile(l.path, fmt.Appendln(nil, os.Getpid()), 0o600)
	return l, nil
}

func conflict(ctx context.Context, other *client.Client) error {
	who := "another agent runs already"
	if v, err := other.Version(ctx); err == nil {
		who = fmt.Sprintf("an agent runs already, process %d", v.PID)
	}
	return fault.New(fault.Conflict, "Use that one; crabbox agent stop ends it.", "%s", who)
}

// held tells whether the lock's file is still the one at its path. It is not
// when the home was removed, unmounted or replaced: then this agent serves
// nobody any more and must leave what lies there alone.
func (l *lock) held() bool {
	mine, err := l.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(l.path)
	return err == nil && os.SameFile(mine, there)
}

func (l *lock) release() { l.file.Close() }

// listen opens the agent's socket; the lock must be held, so a socket that lies
// there belongs to nobody. The folder is closed to others (store.Open), so
// nobody gets in before the mode is set.
func listen(path string) (net.Listener, error) {
	switch err := client.CheckSocket(path); {
	case err == nil:
		if err := os.Remove(path); err != nil {
			return nil, fault.New(fault.Failed, "Remove it by hand and try again.", "stale socket: %w", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fault.New(fault.Failed, "Set CRABBOX_HOME to a folder of your own, on a local disk.", "open %s: %w", api.SocketFile, err)
	}
	l.SetUnlinkOnClose(false) // only Run knows whether the path is still ours
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fault.New(fault.Failed, "Set CRABBOX_HOME to a folder of your own, on a local disk.", "close %s to others: %w", api.SocketFile, err)
	}
	return l, nil
}
