package cli

import (
	"context"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/doctor"
	"crabbox/internal/fault"
	"crabbox/internal/store"
)

// retryEvery is the pause between two looks at something that is waited for.
const retryEvery = 250 * time.Millisecond

// awaitLogins waits until every lease's box can be logged in to. A fault names
// the boxes that cannot: Timeout when it is all of them, else Partial.
func (a *app) awaitLogins(ctx context.Context, h *home, leases []store.Lease, limit time.Duration) error {
	return a.awaitEach(ctx, leases, limit, func(ctx context.Context, l store.Lease) error {
		return retry(ctx, func() error {
			c, err := a.connect(ctx, h, l)
			if err == nil {
				c.Close()
			}
			return err
		})
	})
}

// awaitPorts waits until every exposed TCP port of every lease accepts.
func (a *app) awaitPorts(ctx context.Context, h *home, leases []store.Lease, limit time.Duration) error {
	return a.awaitEach(ctx, leases, limit, func(ctx context.Context, l store.Lease) error {
		return retry(ctx, func() error {
			c, err := a.connect(ctx, h, l)
			if err != nil {
				return err
			}
			defer c.Close()
			return retry(ctx, func() error { return acceptsAll(ctx, c, l.Box.Expose) })
		})
	})
}

func acceptsAll(ctx context.Context, c *ssh.Client, ports []box.Port) error {
	for _, p := range ports {
		if p.Proto != box.TCP {
			continue
		}
		if err := doctor.Probe(ctx, c, p); err != nil {
			return fault.New(fault.Timeout, "", "port %s: %w", p, err)
		}
	}
	return nil
}

// retry repeats try until it succeeds, ctx ends, or trying again cannot help.
// It returns the last failure.
func retry(ctx context.Context, try func() error) error {
	for {
		err := try()
		switch fault.KindOf(err) {
		case "", fault.Usage, fault.Credentials, fault.Conflict, fault.NotFound, fault.Unsupported:
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryEvery):
		}
	}
}

// awaitEach runs wait for all leases side by side, for at most limit.
func (a *app) awaitEach(ctx context.Context, leases []store.Lease, limit time.Duration, wait func(context.Context, store.Lease) error) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	errs := make([]error, len(leases))
	var all sync.WaitGroup
	for i, l := range leases {
		all.Go(func() { errs[i] = wait(bounded, l) })
	}
	all.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	late := 0
	for i, err := range errs {
		if err != nil {
			late++
			a.out.warn("%s is not ready: %v", leases[i].Box.Slug, err)
		}
	}
	switch {
	case late == 0:
		return nil
	case late < len(leases):
		return fault.New(fault.Partial, "crabbox doctor says what is wrong.", "%d of %d boxes are not ready after %s", late, len(leases), limit)
	}
	return fault.New(fault.Timeout, "crabbox doctor says what is wrong; --timeout waits longer.", "not ready after %s", limit)
}
