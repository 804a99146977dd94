package agent

import (
	"context"
	"slices"
	"time"

	"crabbox/internal/agent/api"
	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/store"
)

// claim is why a crew is connected:
//
//	            connect                disconnect
//	(no claim) ─────────► detached ◄───┐   │ from everywhere
//	   │  ▲                   │        │   ▼
//	   │  └── no lease left ──┘        │ (no claim)
//	   │ hold                          │
//	   └────────► held by n commands ──┘ connect
//	                  │ the last one leaves
//	                  └────► (no claim), or detached when it was connected as well
//
// Its fields are guarded by agent.mu.
type claim struct {
	crew     string
	since    time.Time
	detached *store.Wanted // nil: nobody asked for it for good
	holders  map[*api.ConnectRequest]bool
}

// wants tells whether the crew's boxes of this provider are asked for.
func (c *claim) wants(provider string) bool {
	if c.detached != nil && (c.detached.Provider == "" || c.detached.Provider == provider) {
		return true
	}
	for r := range c.holders {
		if r.Provider == "" || r.Provider == provider {
			return true
		}
	}
	return false
}

// shares tells whether other users of this machine may use the ports: only
// when everybody who wants the crew said so.
func (c *claim) shares() bool {
	if c.detached != nil && !c.detached.ShareLocal {
		return false
	}
	for r := range c.holders {
		if !r.ShareLocal {
			return false
		}
	}
	return true
}

// copy is for the loop, which works without the lock.
func (c *claim) copy() claim {
	d := *c
	d.holders = map[*api.ConnectRequest]bool{}
	for r := range c.holders {
		d.holders[r] = true
	}
	return d
}

// claimLocked returns the crew's claim, a new one when there is none.
func (a *agent) claimLocked(crew string) *claim {
	c := a.claims[crew]
	if c == nil {
		c = &claim{crew: crew, since: time.Now(), holders: map[*api.ConnectRequest]bool{}}
		a.claims[crew] = c
	}
	return c
}

// restore takes over what was wanted for good when the last agent ended, and
// returns it as it is on disk.
func (a *agent) restore() map[string]store.Wanted {
	saved := map[string]store.Wanted{}
	wanted, broken, err := a.store.Wanted()
	if err != nil {
		a.log.Error("wanted crews", "reason", err)
	}
	for _, b := range broken {
		a.log.Warn("a wanted crew cannot be read", "path", b.Path, "aside", b.Aside, "reason", b.Reason)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range wanted {
		c := a.claimLocked(w.Crew)
		c.detached, c.since = &w, w.Since
		saved[w.Crew] = w
		a.log.Info("crew restored", "crew", w.Crew)
	}
	return saved
}

// connect wants a crew until it is disconnected.
func (a *agent) connect(ctx context.Context, crew string, r api.ConnectRequest) (api.Crew, error) {
	r, err := a.check(crew, r)
	if err != nil {
		return api.Crew{}, err
	}
	if err := a.hasMembers(crew, r.Provider); err != nil {
		return api.Crew{}, err
	}
	a.mu.Lock()
	c := a.claimLocked(crew)
	since := time.Now()
	if c.detached != nil {
		since = c.detached.Since
	}
	c.detached = &store.Wanted{Crew: crew, Provider: r.Provider, ShareLocal: r.ShareLocal, Since: since}
	a.mu.Unlock()
	a.log.Info("crew connected", "crew", crew)
	if err := a.pass(ctx); err != nil {
		return api.Crew{}, err
	}
	a.retry(crew)
	return a.crew(crew)
}

// drop takes a crew down, whoever holds it.
func (a *agent) drop(ctx context.Context, crew string) (api.Crew, error) {
	was, err := a.crew(crew)
	if err != nil {
		return was, err
	}
	a.mu.Lock()
	delete(a.claims, crew)
	a.mu.Unlock()
	a.log.Info("crew disconnected", "crew", crew)
	return was, a.pass(ctx)
}

// hold wants a crew until leave is called.
func (a *agent) hold(crew string, r api.ConnectRequest) (c *claim, leave func(), err error) {
	r, err = a.check(crew, r)
	if err != nil {
		return nil, nil, err
	}
	holder := &r
	a.mu.Lock()
	c = a.claimLocked(crew)
	c.holders[holder] = true
	a.mu.Unlock()
	a.log.Info("crew held", "crew", crew)
	return c, func() {
		a.mu.Lock()
		delete(c.holders, holder)
		last := len(c.holders) == 0 && c.detached == nil && a.claims[crew] == c
		if last {
			delete(a.claims, crew)
		}
		a.mu.Unlock()
		a.log.Info("crew let go", "crew", crew, "last", last)
		select {
		case a.kick <- struct{}{}:
		default:
		}
	}, nil
}

// stands tells whether the crew is still connected for the reason c.
func (a *agent) stands(c *claim) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.claims[c.crew] == c
}

// forsake drops the detached claim c of a crew whose last lease is gone: the
// crew has ceased to exist. A crew that a command holds is waited for.
func (a *agent) forsake(crew string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.claims[crew]
	if c == nil || c.detached == nil || len(c.holders) > 0 {
		return false
	}
	delete(a.claims, crew)
	return true
}

// check makes the request's provider the name that boxes have.
func (a *agent) check(crew string, r api.ConnectRequest) (api.ConnectRequest, error) {
	if err := box.CheckName("crew", crew); err != nil {
		return r, err
	}
	if r.Provider != "" {
		d, err := a.keeper.Providers.Find(r.Provider)
		if err != nil {
			return r, err
		}
		r.Provider = d.Name
	}
	return r, nil
}

func (a *agent) hasMembers(crew, provider string) error {
	leases, _, err := a.store.Leases()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(leases, func(l store.Lease) bool {
		return l.Box.Crew == crew && (provider == "" || l.Box.Provider == provider)
	}) {
		return nil
	}
	if provider != "" {
		return fault.New(fault.NotFound, "crabbox list --crew "+crew+" shows its boxes.", "crew %s has no members of provider %s", crew, provider)
	}
	return fault.New(fault.NotFound, "crabbox warmup --crew "+crew+" leases one; crabbox list shows what there is.", "crew %s has no members", crew)
}

// retry gives the crew's links that were refused, or whose box was gone,
// another chance: a person asks, so something may have changed.
func (a *agent) retry(crew string) {
	p, _ := a.look()
	for _, s := range a.mesh.Snapshot().Links {
		if m := p.byID(s.ID); m != nil && (crew == "" || m.lease.Box.Crew == crew) && final(s.State) {
			a.mesh.Retry(s.ID)
		}
	}
}
