package cli

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"crabbox/internal/box"
	"crabbox/internal/crew"
	"crabbox/internal/fault"
	"crabbox/internal/store"
)

// releaseTime bounds the release of one box; it goes on after Ctrl-C, so that
// nothing is left half done.
const releaseTime = 90 * time.Second

type releaseOptions struct {
	leases            []string
	crew              string
	expired, all, yes bool
}

func (a *app) releaseCommand() *cobra.Command {
	var o releaseOptions
	cmd := &cobra.Command{
		Use:     "release LEASE... | --crew NAME | --expired | --all",
		Aliases: []string{"stop"},
		Short:   "End leases and destroy their boxes",
		Example: `  crabbox release web api
  crabbox release --crew demo
  crabbox release --all --yes`,
		ValidArgsFunction: a.completeLeases,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkNames(cmd, "crew"); err != nil {
				return err
			}
			o.leases = args
			ways := 0
			for _, given := range []bool{len(args) > 0, o.crew != "", o.expired, o.all} {
				if given {
					ways++
				}
			}
			if ways != 1 {
				return fault.New(fault.Usage, "Usage: "+cmd.UseLine(), "say which leases to release, in exactly one way")
			}
			return a.release(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.crew, "crew", "", "all boxes of this crew")
	f.BoolVar(&o.expired, "expired", false, "all boxes whose time is over")
	f.BoolVar(&o.all, "all", false, "all boxes")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	a.completeFlags(cmd)
	a.jsonFlag(cmd, "print what was released as JSON")
	return cmd
}

// released is the outcome for one lease.
type released struct {
	ID    box.ID `json:"id,omitempty"`
	Slug  string `json:"slug"`
	Crew  string `json:"crew,omitempty"`
	Error string `json:"error,omitempty"`
	err   error
}

func (a *app) release(ctx context.Context, o releaseOptions) error {
	h, err := a.openRestored(ctx)
	if err != nil {
		return err
	}
	leases, unknown, err := a.toRelease(ctx, h, o)
	if err != nil {
		return err
	}
	if o.all && !o.yes && len(leases) > 0 {
		if err := a.agreed(ctx, leases); err != nil {
			return err
		}
	}
	results := append(unknown, a.releaseEach(ctx, h, leases)...)
	if a.out.json {
		if err := a.out.document(results); err != nil {
			return err
		}
	}
	return a.releaseOutcome(results)
}

// toRelease finds the leases that o means. References that mean nothing come
// back as outcomes, so that they do not stop the others.
func (a *app) toRelease(ctx context.Context, h *home, o releaseOptions) ([]store.Lease, []released, error) {
	leases, unknown := []store.Lease{}, []released{}
	for _, ref := range o.leases {
		l, err := h.keeper.Find(ctx, ref)
		switch {
		case err != nil && len(o.leases) == 1:
			return nil, nil, err
		case err != nil:
			unknown = append(unknown, released{Slug: ref, Error: err.Error(), err: err})
		case !slices.ContainsFunc(leases, func(other store.Lease) bool { return other.Box.ID == l.Box.ID }):
			leases = append(leases, l)
		}
	}
	if len(o.leases) > 0 {
		return leases, unknown, nil
	}
	leases, problems, err := h.keeper.List(ctx, crew.Filter{Crew: o.crew}, false)
	if err != nil {
		return nil, nil, err
	}
	a.problems(problems)
	if o.expired {
		now := time.Now()
		leases = slices.DeleteFunc(leases, func(l store.Lease) bool { return !l.Box.Expired(now) && l.Box.State != box.Gone })
	}
	if len(leases) == 0 {
		if o.crew != "" {
			return nil, nil, noMembers(o.crew)
		}
		a.out.say("nothing to release")
	}
	return leases, unknown, nil
}

// agreed asks before everything goes; without a person to ask it needs --yes.
func (a *app) agreed(ctx context.Context, leases []store.Lease) error {
	if !a.interactive() {
		return fault.New(fault.Usage, "Add --yes when nobody can be asked.", "--all releases every box")
	}
	for _, l := range leases {
		a.out.say("%s (%s), crew %q, provider %s", l.Box.Slug, string(l.Box.ID), l.Box.Crew, l.Box.Provider)
	}
	yes, err := a.confirm(ctx, cleaned("Release %s?", howMany(len(leases), "box", "boxes")))
	if err == nil && !yes {
		err = fault.New(fault.Failed, "", "nothing was released")
	}
	return err
}

// releaseEach releases side by side, lets the agent know and disconnects crews
// that have ended.
func (a *app) releaseEach(ctx context.Context, h *home, leases []store.Lease) []released {
	results := make([]released, len(leases))
	slots := make(chan struct{}, 8)
	var all sync.WaitGroup
	for i, l := range leases {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			r := released{ID: l.Box.ID, Slug: l.Box.Slug, Crew: l.Box.Crew}
			if r.err = a.releaseOne(ctx, h, l); r.err != nil {
				r.Error = r.err.Error()
			} else if !a.out.json {
				a.out.line("released %s (%s)", r.Slug, string(r.ID))
			}
			results[i] = r
		})
	}
	all.Wait()
	a.leasesChanged(ctx, h)
	a.endCrews(ctx, h, leases)
	return results
}

// releaseOne goes on when ctx ends: a box that is being destroyed is seen
// through to the end.
func (a *app) releaseOne(ctx context.Context, h *home, l store.Lease) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	return h.keeper.Release(ctx, l)
}

// endCrews forgets that crews without any lease left were wanted connected.
func (a *app) endCrews(ctx context.Context, h *home, leases []store.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	done := map[string]bool{"": true}
	for _, l := range leases {
		name := l.Box.Crew
		if done[name] {
			continue
		}
		done[name] = true
		left, _, err := h.keeper.List(ctx, crew.Filter{Crew: name}, false)
		if err != nil || len(left) > 0 {
			continue
		}
		if err := a.dropWanted(ctx, h, name); err != nil && !errors.Is(err, fault.NotFound) {
			a.out.warn("crew %s is still wanted connected: %v", name, err)
		}
	}
}

func (a *app) releaseOutcome(results []released) error {
	var failed []released
	for _, r := range results {
		if r.err != nil {
			failed = append(failed, r)
		}
	}
	switch {
	case len(failed) == 0:
		return nil
	case len(results) == 1:
		return failed[0].err
	}
	for _, r := range failed {
		a.out.warn("%s was not released: %v", r.Slug, r.err)
		a.out.advise(fault.RemedyOf(r.err))
	}
	if len(failed) == len(results) {
		return fault.New(fault.KindOf(failed[0].err), "", "none of the %d leases was released", len(results))
	}
	return fault.New(fault.Partial, "Run it again for those that are left.", "%d of %d leases were not released", len(failed), len(results))
}
