package local

import (
	"context"
	"errors"
	"os"
	"time"
)

// grace is how long a box has to end by itself after SIGTERM: its commands'
// last breath, and the removal of its folder.
const grace = lastBreath + 2*time.Second

var errUnknownProcess = errors.New("it lives, but nobody knows its process")

// endUnpinned ends the box's process where the kernel has no descriptors for
// processes. The lock is looked at just before each signal, since only a
// living box holds it; a moment remains in which the id could become another's.
func (p *Provider) endUnpinned(ctx context.Context, id string, pid int) error {
	if pid <= 1 {
		return errUnknownProcess
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return p.awaitDeath(ctx, id)
	}
	defer func() { _ = process.Release() }()
	gentle, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if p.alive(id) && process.Signal(terminate) == nil && p.awaitDeath(gentle, id) == nil {
		return nil
	}
	if p.alive(id) {
		_ = process.Kill()
	}
	return p.awaitDeath(ctx, id)
}
