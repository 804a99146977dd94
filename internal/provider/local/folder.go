package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

// Two locks, both taken away by the kernel with the process that holds them:
//
//	<id>.lock  whoever creates, changes or removes the box holds it meanwhile
//	<id>/lock  the box's own process holds it for as long as it lives
//
// Readers take neither but for the moment of a look (alive, claimed).

// lockPoll is how often a lock that another process holds is tried again.
const lockPoll = 5 * time.Millisecond

func (p *Provider) folder(id string) string { return filepath.Join(p.dir, id) }

// hold takes id for the caller, waiting for others until ctx ends. The lock's
// file goes with the release, so a lock is only believed when its file is
// still the one at its path.
func (p *Provider) hold(ctx context.Context, id string) (release func(), err error) {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, fault.New(fault.Failed, "", "the folder of local boxes cannot be made: %w", err)
	}
	path := p.folder(id) + ".lock"
	for {
		l := flock.New(path)
		if _, err := l.TryLockContext(ctx, lockPoll); err != nil {
			_ = l.Close()
			return nil, notHeld(id, err)
		}
		if current(l, path) {
			return func() { letOff(l, path) }, nil
		}
		_ = l.Close()
	}
}

func notHeld(id string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.New(fault.Timeout, "Another crabbox works on it; try again.", "box %s is busy: %w", id, err)
	}
	return fault.New(fault.Failed, "", "box %s cannot be locked: %w", id, err)
}

// tryHold is hold that gives up at once.
func (p *Provider) tryHold(id string) (release func(), ok bool) {
	path := p.folder(id) + ".lock"
	l := flock.New(path)
	if got, err := l.TryLock(); err != nil || !got || !current(l, path) {
		_ = l.Close()
		return nil, false
	}
	return func() { letOff(l, path) }, true
}

// letOff gives a held lock back and removes its file. Windows removes no open
// file, which also keeps another holder's file safe from us there.
func letOff(l *flock.Flock, path string) {
	if runtime.GOOS == "windows" {
		_, _ = l.Close(), os.Remove(path)
		return
	}
	_, _ = os.Remove(path), l.Close()
}

func current(l *flock.Flock, path string) bool {
	held, err := l.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(held, there)
}

// claimed tells whether somebody holds id at this moment.
func (p *Provider) claimed(id string) bool { return lockHeld(p.folder(id) + ".lock") }

// alive tells whether the box's process runs.
func (p *Provider) alive(id string) bool { return lockHeld(filepath.Join(p.folder(id), fileLock)) }

// lockHeld tells whether somebody holds the lock on the file exclusively. It
// tries a shared lock, so that two who look never take each other for a holder.
func lockHeld(path string) bool {
	l := flock.New(path, flock.SetFlag(os.O_RDONLY))
	got, err := l.TryRLock()
	_ = l.Close()
	return err == nil && !got
}

// awaitDeath waits until the box's lock is free. The process may be gone a
// moment earlier, where a command was just being started with a copy of it.
func (p *Provider) awaitDeath(ctx context.Context, id string) error {
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	for p.alive(id) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
	return nil
}

// ids lists what can be boxes: folders, and locks of attempts that died before
// they had one.
func (p *Provider) ids() ([]string, error) {
	entries, err := os.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.New(fault.Failed, "", "local boxes cannot be listed: %w", err)
	}
	var ids []string
	for _, e := range entries {
		id := strings.TrimSuffix(e.Name(), ".lock")
		if _, err := box.ParseID(id); err == nil && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// removeFolder removes a box's folder, whatever its commands did to the modes
// of what is in there. Symbolic links in it are removed and never followed.
func removeFolder(base, id string) error {
	root, err := os.OpenRoot(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.RemoveAll(id); err == nil {
		return nil
	}
	openUp(root, id)
	return root.RemoveAll(id)
}

// openUp gives us back the right to every folder below name.
func openUp(root *os.Root, name string) {
	if err := root.Chmod(name, 0o700); err != nil {
		return
	}
	d, err := root.Open(name)
	if err != nil {
		return
	}
	entries, _ := d.ReadDir(-1)
	_ = d.Close()
	for _, e := range entries {
		if e.IsDir() {
			openUp(root, filepath.Join(name, e.Name()))
		}
	}
}

// overdue is how long after its time a box that still lives is taken for stuck.
const overdue = time.Minute

// sweep removes the folders of boxes that are dead, and ends those that
// outlived their time although they should have ended by themselves. What
// somebody else is working on is left alone.
func (p *Provider) sweep() {
	ids, err := p.ids()
	if err != nil {
		p.log.Warn("sweep", "error", err)
		return
	}
	for _, id := range ids {
		if p.alive(id) && !p.stuck(id) {
			continue
		}
		release, ok := p.tryHold(id)
		if !ok {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), killLimit)
		if !p.alive(id) || p.stuck(id) {
			if err := p.clear(ctx, id); err != nil {
				p.log.Warn("sweep", "box", id, "error", err)
			}
		}
		cancel()
		release()
	}
}

func (p *Provider) stuck(id string) bool {
	r, err := readRecord(p.folder(id))
	return err == nil && r.Box.Expired(time.Now().Add(-overdue))
}
