package cli

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/cobra"

	"crabbox/internal/agent/api"
	"crabbox/internal/box"
	"crabbox/internal/crew"
	"crabbox/internal/fault"
	"crabbox/internal/store"
)

type statusOptions struct {
	lease  string // "" for all that match the filter
	filter crew.Filter
	wait   bool
	limit  time.Duration
}

func (a *app) statusCommand() *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:               "status [LEASE] [flags]",
		Short:             "Show one box or several in full",
		Args:              between(0, 1, "a lease"),
		ValidArgsFunction: a.completeLeases,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkFilter(cmd, &o.filter); err != nil {
				return err
			}
			if len(args) > 0 {
				if cmd.Flags().Changed("crew") || cmd.Flags().Changed("provider") {
					return fault.New(fault.Usage, "Name a lease, or select with --crew and --provider.", "a lease and a selector were both given")
				}
				if o.lease = args[0]; o.lease == "" {
					return box.CheckName("slug", o.lease)
				}
			}
			return a.status(cmd.Context(), o)
		},
	}
	a.filterFlags(cmd, &o.filter)
	cmd.Flags().BoolVar(&o.wait, "wait", false, "wait until the boxes are running and can be logged in to")
	cmd.Flags().DurationVar(&o.limit, "timeout", 5*time.Minute, "how long --wait waits")
	a.jsonFlag(cmd, "print the boxes as JSON")
	return cmd
}

func (a *app) status(ctx context.Context, o statusOptions) error {
	h, err := a.openRestored(ctx)
	if err != nil {
		return err
	}
	leases, partial, err := a.selected(ctx, h, o)
	if err != nil {
		return err
	}
	var waited error
	if o.wait {
		if waited = a.awaitLogins(ctx, h, leases, o.limit); ctx.Err() != nil {
			return waited
		}
	}
	members := a.members(ctx, h)
	now := time.Now()
	if a.out.json {
		err = a.statusJSON(leases, members, o.lease != "", now)
	} else {
		for i, l := range leases {
			if i > 0 {
				a.out.raw("\n")
			}
			a.showStatus(l, members[l.Box.ID], now)
		}
		if len(leases) == 0 {
			a.noBoxes(o.filter)
		}
	}
	return cmp.Or(err, waited, partial)
}

// selected finds what status was asked about, as the providers see it now.
func (a *app) selected(ctx context.Context, h *home, o statusOptions) (leases []store.Lease, partial, err error) {
	if o.lease == "" {
		leases, partial, err = a.freshLeases(ctx, h, o.filter)
		if err == nil && len(leases) == 0 && o.filter.Crew != "" && o.filter.Provider == "" {
			err = noMembers(o.filter.Crew)
		}
		return leases, partial, err
	}
	l, err := h.keeper.Find(ctx, o.lease)
	if err != nil {
		return nil, nil, err
	}
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	fresh, err := h.keeper.Refresh(asking, l)
	switch fault.KindOf(err) {
	case "":
		l = fresh
	case fault.NotFound:
		l.Box.State = box.Gone
	default:
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		a.out.warn("%s is shown as last seen: %v", l.Box.Slug, err)
		partial = fault.New(fault.Partial, fault.RemedyOf(err), "provider %s did not answer", l.Box.Provider)
	}
	return []store.Lease{l}, partial, nil
}

// members are the agent's views of the boxes of connected crews, by lease.
func (a *app) members(ctx context.Context, h *home) map[box.ID]api.Member {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	members := map[box.ID]api.Member{}
	c, err := a.runningAgent(ctx, h)
	if err != nil || c == nil {
		return members
	}
	crews, err := c.Crews(ctx)
	if err != nil {
		a.out.warn("the agent does not answer: %v", err)
	}
	for _, crew := range crews {
		for _, m := range crew.Members {
			members[m.Lease] = m
		}
	}
	return members
}

func (a *app) statusJSON(leases []store.Lease, members map[box.ID]api.Member, one bool, now time.Time) error {
	type status struct {
		leaseView
		Link *api.Member `json:"link,omitempty"`
	}
	all := make([]status, len(leases))
	for i, l := range leases {
		all[i].leaseView = view(l, now)
		if m, ok := members[l.Box.ID]; ok {
			all[i].Link = &m
		}
	}
	if one {
		return a.out.document(all[0])
	}
	return a.out.document(all)
}

func (a *app) showStatus(l store.Lease, m api.Member, now time.Time) {
	b := l.Box
	a.out.facts(
		[2]string{"box", b.Slug + " (" + string(b.ID) + ")"},
		[2]string{"state", stateCell(b, now).text},
		[2]string{"crew", b.Crew},
		[2]string{"role", b.Role},
		[2]string{"provider", b.Provider},
		[2]string{"exposes", portList(b.Expose)},
		[2]string{"created", b.Created.Local().Format(time.DateTime) + " (" + short(now.Sub(b.Created)) + " ago)"},
		[2]string{"ends", expiry(b, now)},
		[2]string{"login", where(b.Endpoint)},
		[2]string{"owner", b.Owner},
		[2]string{"note", b.Note},
	)
	if m.Lease == "" {
		return
	}
	a.out.facts([2]string{"link", linkText(m)}, [2]string{"address", m.Address})
	for _, f := range m.Forwards {
		a.out.facts([2]string{"port " + f.Port.String(), forwardText(f)})
	}
}
