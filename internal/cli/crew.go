package cli

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"crabbox/internal/agent/api"
	"crabbox/internal/agent/client"
	"crabbox/internal/box"
	"crabbox/internal/crew"
	"crabbox/internal/fault"
	"crabbox/internal/store"
)

func (a *app) crewCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "crew",
		Aliases: []string{"pond"},
		Short:   "Use the ports of boxes that belong together",
		Args:    cobra.ArbitraryArgs,
		RunE:    onlySubcommands,
	}
	cmd.AddCommand(
		a.crewConnectCommand(), a.crewDisconnectCommand(), a.crewListCommand(), a.crewStatusCommand(),
		a.crewPeersCommand(), a.crewEnvCommand(), a.crewPlanCommand(),
	)
	return cmd
}

// crewView is a command that takes one crew's name and shows something of it.
func (a *app) crewView(use, short string, show func(ctx context.Context, h *home, name string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:               use + " NAME",
		Short:             short,
		Args:              between(1, 1, "the crew's name"),
		ValidArgsFunction: a.completeFirstCrew,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := box.CheckName("crew", args[0]); err != nil {
				return err
			}
			h, err := a.open()
			if err != nil {
				return err
			}
			return show(cmd.Context(), h, args[0])
		},
	}
	a.jsonFlag(cmd, "print it as JSON")
	return cmd
}

func (a *app) completeFirstCrew(cmd *cobra.Command, given []string, part string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, noFiles
	}
	return a.completeCrews(cmd, given, part)
}

// noMembers is what every command says about a crew that has no boxes.
func noMembers(name string) error {
	return fault.New(fault.NotFound, "Lease a member: crabbox warmup --crew "+name+" --expose PORT. crabbox crew list shows the crews.", "crew %s has no members", name)
}

// crewLeases are the leases of a crew, oldest first; none is a fault.
func (a *app) crewLeases(ctx context.Context, h *home, filter crew.Filter) ([]store.Lease, error) {
	leases, problems, err := h.keeper.List(ctx, filter, false)
	if err != nil {
		return nil, err
	}
	a.problems(problems)
	if len(leases) == 0 && filter.Provider != "" {
		return nil, fault.New(fault.NotFound, "crabbox list --crew "+filter.Crew+" shows whose members it has.", "crew %s has no member of provider %s", filter.Crew, filter.Provider)
	}
	if len(leases) == 0 {
		return nil, noMembers(filter.Crew)
	}
	return leases, nil
}

// connected is the agent's view of a crew, nil when it is not connected.
func (a *app) connected(ctx context.Context, h *home, name string) (*api.Crew, error) {
	c, err := a.restored(ctx, h)
	if err != nil || c == nil {
		return nil, err
	}
	view, err := c.Crew(ctx, name)
	switch fault.KindOf(err) {
	case "":
		return a.ripe(ctx, c, view)
	case fault.NotFound:
		return nil, nil
	}
	return nil, err
}

// freshTime is how long a look at a crew waits for its first attempts.
const freshTime = 3 * time.Second

// ripe is the crew's state once its first attempts are over, or freshTime is.
func (a *app) ripe(ctx context.Context, c *client.Client, now api.Crew) (*api.Crew, error) {
	if !fresh(now) {
		return &now, nil
	}
	bounded, cancel := context.WithTimeout(ctx, freshTime)
	defer cancel()
	err := c.Watch(bounded, now.Name, api.WatchRequest{}, func(next api.Crew) error {
		now = next
		if !fresh(now) {
			return errSettled
		}
		return nil
	})
	if err != nil && !errors.Is(err, errSettled) && bounded.Err() == nil {
		return nil, err
	}
	return &now, ctx.Err()
}

// dropWanted takes a crew down for good, whoever holds it; NotFound when it is
// not connected.
func (a *app) dropWanted(ctx context.Context, h *home, name string) error {
	c, err := a.runningAgent(ctx, h)
	if err != nil {
		return err
	}
	if c != nil {
		_, err := c.Disconnect(ctx, name)
		return err
	}
	wanted, broken, err := h.store.Wanted()
	if err != nil {
		return err
	}
	a.brokenFiles(broken)
	if !slices.ContainsFunc(wanted, func(w store.Wanted) bool { return w.Crew == name }) {
		return notConnected(name)
	}
	if err := h.store.DropWanted(name); err != nil {
		return err
	}
	return os.RemoveAll(h.store.CrewDir(name))
}

func notConnected(name string) error {
	return fault.New(fault.NotFound, "crabbox crew connect "+name+" connects it.", "crew %s is not connected", name)
}

// crewRow is one crew as crew list shows it.
type crewRow struct {
	Name      string    `json:"name"`
	Members   int       `json:"members"`
	Ports     int       `json:"ports"`
	Connected bool      `json:"connected"`
	Usable    bool      `json:"usable"`
	Since     time.Time `json:"since,omitzero"`
}

func (a *app) crewListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "Show the crews",
		Args:    between(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := a.open()
			if err != nil {
				return err
			}
			return a.crewList(cmd.Context(), h)
		},
	}
	a.jsonFlag(cmd, "print the crews as JSON")
	return cmd
}

func (a *app) crewList(ctx context.Context, h *home) error {
	rows, err := a.crews(ctx, h)
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.document(rows)
	}
	if len(rows) == 0 {
		a.out.say("there are no crews; crabbox warmup --crew NAME --expose PORT begins one")
		return nil
	}
	t := &table{head: []string{"CREW", "MEMBERS", "PORTS", "CONNECTED"}}
	for _, r := range rows {
		state := cell{"no", plain}
		switch {
		case r.Usable:
			state = cell{"yes, since " + r.Since.Local().Format(time.TimeOnly), good}
		case r.Connected:
			state = cell{"partly, see crabbox crew status " + r.Name, doubt}
		}
		t.row(r.Name, r.Members, r.Ports, state)
	}
	a.out.table(t)
	return nil
}

// crews joins what the store knows with what the agent holds.
func (a *app) crews(ctx context.Context, h *home) ([]crewRow, error) {
	leases, problems, err := h.keeper.List(ctx, crew.Filter{}, false)
	if err != nil {
		return nil, err
	}
	a.problems(problems)
	byName := map[string]*crewRow{}
	row := func(name string) *crewRow {
		if byName[name] == nil {
			byName[name] = &crewRow{Name: name}
		}
		return byName[name]
	}
	for _, l := range leases {
		if l.Box.Crew != "" {
			r := row(l.Box.Crew)
			r.Members++
			r.Ports += len(l.Box.Expose)
		}
	}
	c, err := a.restored(ctx, h)
	if err != nil {
		return nil, err
	}
	if c != nil {
		views, err := c.Crews(ctx)
		if err != nil {
			return nil, err
		}
		for _, v := range views {
			r := row(v.Name)
			r.Connected, r.Usable, r.Since = true, v.Usable() && len(v.Members) > 0, v.Since
		}
	}
	rows := []crewRow{}
	for _, r := range byName {
		rows = append(rows, *r)
	}
	slices.SortFunc(rows, func(x, y crewRow) int {
		if x.Name < y.Name {
			return -1
		}
		return 1
	})
	return rows, nil
}
