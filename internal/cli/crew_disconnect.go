package cli

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

func (a *app) crewDisconnectCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:               "disconnect NAME | --all",
		Short:             "Take a crew's connections down",
		Args:              between(0, 1, "the crew's name"),
		ValidArgsFunction: a.completeFirstCrew,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return fault.New(fault.Usage, "Usage: "+cmd.UseLine(), "name one crew, or say --all")
			}
			h, err := a.open()
			if err != nil {
				return err
			}
			if all {
				return a.disconnectAll(cmd.Context(), h)
			}
			if err := box.CheckName("crew", args[0]); err != nil {
				return err
			}
			return a.disconnect(cmd.Context(), h, args[0])
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all crews")
	a.jsonFlag(cmd, "print what was disconnected as JSON")
	return cmd
}

func (a *app) disconnect(ctx context.Context, h *home, name string) error {
	if err := a.dropWanted(ctx, h, name); err != nil {
		return err
	}
	return a.disconnected(name)
}

func (a *app) disconnectAll(ctx context.Context, h *home) error {
	var names []string
	wanted, broken, err := h.store.Wanted()
	if err != nil {
		return err
	}
	a.brokenFiles(broken)
	for _, w := range wanted {
		names = append(names, w.Crew)
	}
	c, err := a.runningAgent(ctx, h)
	if err != nil {
		return err
	}
	if c != nil {
		crews, err := c.Crews(ctx)
		if err != nil {
			return err
		}
		for _, crew := range crews {
			if !slices.Contains(names, crew.Name) {
				names = append(names, crew.Name)
			}
		}
	}
	done := []string{}
	for _, name := range names {
		switch err := a.dropWanted(ctx, h, name); {
		case errors.Is(err, fault.NotFound):
		case err != nil:
			return err
		default:
			done = append(done, name)
		}
	}
	return a.disconnected(done...)
}

func (a *app) disconnected(names ...string) error {
	if a.out.json {
		return a.out.document(map[string][]string{"disconnected": names})
	}
	if len(names) == 0 {
		a.out.say("no crew is connected")
	}
	for _, name := range names {
		a.out.line("disconnected %s", name)
	}
	return nil
}
