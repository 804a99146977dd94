package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"crabbox/internal/agent/api"
	"crabbox/internal/agent/client"
	"crabbox/internal/box"
	"crabbox/internal/crew"
	"crabbox/internal/fault"
)

type connectOptions struct {
	crew.Filter
	plane          string
	detach, export bool
	wait           bool
	limit          time.Duration
	shareLocal     bool
}

func (o connectOptions) request() api.ConnectRequest {
	return api.ConnectRequest{Provider: o.Provider, ShareLocal: o.shareLocal}
}

func (a *app) crewConnectCommand() *cobra.Command {
	var o connectOptions
	cmd := &cobra.Command{
		Use:   "connect NAME",
		Short: "Make every exposed port of every member usable here",
		Long: `Make every exposed port of every member usable here, under the member's own
address and with the port's own number, over one SSH connection per member.

It stays, shows the ports and their changes, and takes them down at Ctrl-C.`,
		Example: `  crabbox crew connect demo
  eval "$(crabbox crew connect demo --export)"`,
		Args:              between(1, 1, "the crew's name"),
		ValidArgsFunction: a.completeFirstCrew,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := box.CheckName("crew", args[0]); err != nil {
				return err
			}
			o.Crew = args[0]
			if err := a.checkFilter(cmd, &o.Filter); err != nil {
				return err
			}
			if err := checkPlane(o.plane); err != nil {
				return err
			}
			if o.export && a.out.json {
				return fault.New(fault.Usage, "Take one of them.", "--export and --json were both given")
			}
			return a.crewConnect(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.detach, "detach", false, "leave the connections to the agent and return once they are usable")
	f.BoolVar(&o.export, "export", false, "as --detach, printing only export lines for a shell")
	f.BoolVar(&o.wait, "wait", false, "also wait until every exposed port accepts")
	f.DurationVar(&o.limit, "timeout", 30*time.Second, "how long --detach, --export and --wait wait")
	f.StringVar(&o.Provider, "provider", "", "only this provider's members")
	f.StringVar(&o.plane, "plane", "auto", "how bytes reach the members: auto or ssh")
	f.BoolVar(&o.shareLocal, "share-local", false, "let other users of this machine use the ports too")
	a.completeFlags(cmd)
	a.jsonFlag(cmd, "print the ports as JSON; one line per change when it stays")
	_ = cmd.RegisterFlagCompletionFunc("plane", cobra.FixedCompletions([]string{"auto", "ssh"}, noFiles))
	return cmd
}

func checkPlane(plane string) error {
	switch plane {
	case "auto", "ssh":
		return nil
	case "tailscale":
		return fault.New(fault.Unsupported, "Use --plane ssh.", "the tailscale plane is not there yet")
	}
	return fault.New(fault.Usage, "It takes auto or ssh.", "there is no plane %q", plane)
}

func (a *app) crewConnect(ctx context.Context, o connectOptions) error {
	h, err := a.open()
	if err != nil {
		return err
	}
	leases, err := a.crewLeases(ctx, h, o.Filter)
	if err != nil {
		return err
	}
	ports := 0
	for _, l := range leases {
		ports += len(l.Box.Expose)
	}
	if ports == 0 {
		a.out.warn("no member of crew %s exposes a port; only its ssh_config is of use (crabbox warmup --expose PORT)", o.Crew)
	}
	c, err := client.Connect(ctx, a.agentOptions(h))
	if err != nil {
		return err
	}
	if err := a.unlockKeys(ctx, h, c, leases); err != nil {
		return err
	}
	if o.detach || o.export {
		return a.connectDetached(ctx, c, o)
	}
	return a.connectForeground(ctx, h, c, o)
}

// connectDetached leaves the crew to the agent, and returns once it is settled.
func (a *app) connectDetached(ctx context.Context, c *client.Client, o connectOptions) error {
	last, err := c.ConnectCrew(ctx, o.Crew, o.request())
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	err = c.Watch(bounded, o.Crew, api.WatchRequest{ConnectRequest: o.request()}, func(now api.Crew) error {
		last = now
		if settled(now, o.wait) {
			return errSettled
		}
		return nil
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && !errors.Is(err, errSettled) && bounded.Err() == nil:
		return err
	}
	switch {
	case o.export:
		a.out.raw(last.Env())
	case a.out.json:
		if err := a.out.document(last); err != nil {
			return err
		}
	default:
		a.out.table(portTable(last))
	}
	return a.shortcomings(last)
}

// afterwards says what Ctrl-C will mean for a crew that is about to be held.
func (a *app) afterwards(ctx context.Context, c *client.Client, name string) string {
	if now, err := c.Crew(ctx, name); err == nil && now.Detached {
		return "it was connected for good before and stays so after Ctrl-C (crabbox crew disconnect " + name + ")"
	}
	return "Ctrl-C takes it down"
}

// errSettled ends a watch that has seen enough.
var errSettled = errors.New("settled")

// connectForeground holds the crew for as long as the command stays, also
// across the agent's death. With wait it gives up when the ports are not all
// usable in time.
func (a *app) connectForeground(ctx context.Context, h *home, c *client.Client, o connectOptions) error {
	watching, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var last api.Crew
	live := newLiveView(a.out)
	waiting := o.wait
	limit := time.AfterFunc(o.limit, giveUp)
	defer limit.Stop()
	if !waiting {
		limit.Stop()
	}
	seen := func(now api.Crew) error {
		last = now
		if err := live.show(now); err != nil {
			return err
		}
		if waiting && settled(now, true) && limit.Stop() {
			waiting = false
			if a.shortcomings(now) == nil {
				a.out.say("every port accepts")
			}
		}
		return nil
	}
	if !a.out.json {
		a.out.say("connecting crew %s; %s", o.Crew, a.afterwards(ctx, c, o.Crew))
	}
	losses := 0
	for {
		began := time.Now()
		err := c.Watch(watching, o.Crew, api.WatchRequest{Hold: true, ConnectRequest: o.request()}, seen)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case watching.Err() != nil:
			return a.shortcomings(last)
		case !errors.Is(err, client.ErrGone):
			return err
		}
		if time.Since(began) > 10*time.Second {
			losses = 0
		}
		if losses++; losses > 5 {
			return err
		}
		a.out.warn("the agent is gone; starting it again")
		if c, err = client.Connect(ctx, a.agentOptions(h)); err != nil {
			return err
		}
	}
}
