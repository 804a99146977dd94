package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"crabbox/internal/crew"
	"crabbox/internal/fault"
	"crabbox/internal/store"
)

// askTime bounds how long list and status wait for providers.
const askTime = 20 * time.Second

func (a *app) listCommand() *cobra.Command {
	var filter crew.Filter
	cmd := &cobra.Command{
		Use:     "list [flags]",
		Aliases: []string{"ls"},
		Short:   "Show the leased boxes",
		Args:    between(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkFilter(cmd, &filter); err != nil {
				return err
			}
			return a.list(cmd.Context(), filter)
		},
	}
	a.filterFlags(cmd, &filter)
	a.jsonFlag(cmd, "print the boxes as JSON")
	return cmd
}

func (a *app) list(ctx context.Context, filter crew.Filter) error {
	h, err := a.openRestored(ctx)
	if err != nil {
		return err
	}
	leases, partial, err := a.freshLeases(ctx, h, filter)
	if err != nil {
		return err
	}
	now := time.Now()
	if a.out.json {
		views := make([]leaseView, len(leases))
		for i, l := range leases {
			views[i] = view(l, now)
		}
		if err := a.out.document(views); err != nil {
			return err
		}
		return partial
	}
	if len(leases) == 0 {
		a.noBoxes(filter)
		return partial
	}
	t := &table{head: []string{"BOX", "ID", "CREW", "ROLE", "PROVIDER", "STATE", "EXPOSES", "AGE", "ENDS"}}
	for _, l := range leases {
		b := l.Box
		t.row(b.Slug, b.ID, b.Crew, b.Role, b.Provider, stateCell(b, now), portList(b.Expose), short(now.Sub(b.Created)), expiry(b, now))
	}
	a.out.table(t)
	return partial
}

// noBoxes tells why nothing is shown.
func (a *app) noBoxes(filter crew.Filter) {
	if filter == (crew.Filter{}) {
		a.out.say("no boxes are leased; crabbox warmup leases one")
		return
	}
	a.out.say("no leased box matches; crabbox list shows them all")
}

// freshLeases asks the providers within askTime. Those that do not answer cost
// only their own rows, which are then as last seen; they are named, and partial
// is the fault to end with after the rest was shown.
func (a *app) freshLeases(ctx context.Context, h *home, filter crew.Filter) (leases []store.Lease, partial, err error) {
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	leases, problems, err := h.keeper.List(asking, filter, true)
	if err != nil {
		return nil, nil, err
	}
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	if a.problems(problems) {
		partial = fault.New(fault.Partial, "", "not every box can be shown as it is now")
	}
	return leases, partial, nil
}
