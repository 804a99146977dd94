package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"crabbox/internal/crew"
	"crabbox/internal/store"
)

type warmupOptions struct {
	order crew.Order
	wait  bool
	limit time.Duration
}

func (a *app) warmupCommand() *cobra.Command {
	var flags orderFlags
	var o warmupOptions
	cmd := &cobra.Command{
		Use:   "warmup [flags]",
		Short: "Lease a box",
		Example: `  crabbox warmup --crew demo --slug web --expose 8080
  crabbox warmup --provider ssh -o host=me@build.example --crew demo --expose 5432`,
		Args: between(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := a.openRestored(cmd.Context())
			if err != nil {
				return err
			}
			if o.order, err = flags.order(cmd, h); err != nil {
				return err
			}
			return a.warmup(cmd.Context(), h, o)
		},
	}
	a.addOrderFlags(cmd, &flags)
	cmd.Flags().BoolVar(&o.wait, "wait", false, "wait until every exposed port accepts")
	cmd.Flags().DurationVar(&o.limit, "timeout", 2*time.Minute, "how long --wait waits")
	a.jsonFlag(cmd, "print the box as JSON")
	return cmd
}

func (a *app) warmup(ctx context.Context, h *home, o warmupOptions) error {
	l, err := a.lease(ctx, h, o.order)
	if err != nil {
		return err
	}
	if a.out.json {
		err = a.out.document(view(l, time.Now()))
	} else {
		a.showLease(l)
	}
	if err != nil || !o.wait {
		return err
	}
	a.out.progress("waiting until every exposed port accepts")
	return a.awaitPorts(ctx, h, []store.Lease{l}, o.limit)
}

// lease warms up one box and lets the agent know.
func (a *app) lease(ctx context.Context, h *home, order crew.Order) (store.Lease, error) {
	if order.Provider == "" {
		order.Provider = h.config.Provider
	}
	l, err := h.keeper.Warmup(ctx, order, a.out.progress)
	if err != nil {
		return store.Lease{}, err
	}
	if l.Box.Note != "" {
		a.out.say("%s", l.Box.Note)
	}
	a.leasesChanged(ctx, h)
	return l, nil
}

// showLease tells what was leased and how to reach it.
func (a *app) showLease(l store.Lease) {
	b := l.Box
	reach := "crabbox ssh " + b.Slug
	facts := [][2]string{
		{"box", b.Slug + " (" + string(b.ID) + ")"},
		{"provider", b.Provider},
		{"crew", b.Crew},
		{"role", b.Role},
		{"exposes", portList(b.Expose)},
		{"ends", expiry(b, time.Now())},
		{"reach it", reach},
	}
	if b.Crew != "" && len(b.Expose) > 0 {
		facts = append(facts, [2]string{"ports", "crabbox crew connect " + b.Crew})
	}
	a.out.facts(facts...)
}
