package crew

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/store"
)

// askWait is how long one provider may take to say what it has, and askAtOnce
// how many single boxes it is asked for at the same time.
const (
	askWait   = 15 * time.Second
	askAtOnce = 8
)

// Filter selects leases; empty fields select all.
type Filter struct {
	Crew, Provider string
}

// List returns the leases that match, oldest first, as the store has them; with
// fresh set, as the providers see them now (asked side by side). A box that is
// proven gone has its State set to Gone and stays in the store until released.
// Notes say which leases are over or were left behind by a warmup that crashed.
func (k *Keeper) List(ctx context.Context, f Filter, fresh bool) ([]store.Lease, []Problem, error) {
	if f.Provider != "" {
		d, err := k.Providers.Find(f.Provider)
		if err != nil {
			return nil, nil, err
		}
		f.Provider = d.Name
	}
	var problems []Problem
	leases, err := k.leases(func(b store.Broken) {
		problems = append(problems, Problem{Err: brokenFault(b)})
	})
	if err != nil {
		return nil, nil, err
	}
	leases = slices.DeleteFunc(leases, func(l store.Lease) bool {
		return f.Crew != "" && l.Box.Crew != f.Crew || f.Provider != "" && l.Box.Provider != f.Provider
	})
	if fresh {
		var asked []Problem
		leases, asked = k.ask(ctx, leases)
		problems = append(problems, asked...)
	}
	for i := range leases {
		k.mark(&leases[i].Box)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, nil, ctx.Err()
	}
	return leases, problems, nil // out of time: the problems say who did not answer
}

// mark adds what only we know to a box that is shown; it is not stored.
func (k *Keeper) mark(b *box.Box) {
	switch {
	case b.State == box.Gone:
		addNote(b, "Its box is gone; crabbox release "+string(b.ID)+" forgets it.")
	case b.Expired(k.now()):
		addNote(b, "Its time is over; crabbox release "+string(b.ID)+" ends it.")
	case b.State == box.Creating && !k.Store.LeaseHeld(b.ID):
		addNote(b, "Its warmup did not finish; crabbox release "+string(b.ID)+" removes what is left.")
	}
}

// ask asks all providers of the leases side by side and returns the leases that
// are still in the store, with what could not be asked.
func (k *Keeper) ask(ctx context.Context, leases []store.Lease) ([]store.Lease, []Problem) {
	byProvider := map[string][]*store.Lease{}
	for i := range leases {
		name := leases[i].Box.Provider
		byProvider[name] = append(byProvider[name], &leases[i])
	}
	var mu sync.Mutex // guards problems and released
	var problems []Problem
	released := map[box.ID]bool{}
	report := func(p Problem) {
		mu.Lock()
		defer mu.Unlock()
		if p.Lease != "" && errors.Is(p.Err, errReleased) {
			released[p.Lease] = true
			return
		}
		problems = append(problems, p)
	}
	var wg sync.WaitGroup
	for name, members := range byProvider {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askWait)
			defer cancel()
			k.askOne(ctx, name, members, report)
		})
	}
	wg.Wait()
	slices.SortFunc(problems, func(a, b Problem) int {
		return strings.Compare(a.Provider+string(a.Lease), b.Provider+string(b.Lease))
	})
	return slices.DeleteFunc(leases, func(l store.Lease) bool { return released[l.Box.ID] }), problems
}

// errReleased is ask's own word for a lease that left the store meanwhile.
var errReleased = errors.New("released")

// askOne asks one provider about its leases: one list for all, then one by one
// for those that it does not show, since absence from a list proves nothing.
func (k *Keeper) askOne(ctx context.Context, name string, members []*store.Lease, report func(Problem)) {
	d, p, err := k.provider(name)
	if err != nil {
		report(Problem{Provider: name, Err: err})
		return
	}
	boxes, err := p.List(ctx, nil)
	if err != nil {
		report(Problem{Provider: name, Err: fault.New(fault.KindOf(err), "", "ask provider %s for its boxes: %w", name, err)})
		return
	}
	seen := map[box.ID]*box.Box{}
	for i := range boxes {
		seen[boxes[i].ID] = &boxes[i]
	}
	update := func(l *store.Lease, now store.Lease, err error) {
		switch {
		case err == nil:
			*l = now
		case now.Box.State == box.Gone && errors.Is(err, fault.NotFound):
			*l = now
		case errors.Is(err, fault.NotFound):
			report(Problem{Provider: name, Lease: l.Box.ID, Err: errReleased})
		default:
			report(Problem{Provider: name, Lease: l.Box.ID, Err: err})
		}
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, askAtOnce)
	for _, l := range members {
		if b := seen[l.Box.ID]; b != nil {
			now, err := k.record(d, *l, b)
			update(l, now, err)
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			now, err := k.Refresh(ctx, *l)
			update(l, now, err)
		})
	}
	wg.Wait()
}
