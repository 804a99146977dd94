package cli

import (
	"context"

	"github.com/spf13/cobra"

	"crabbox/internal/agent/api"
	"crabbox/internal/crew"
)

func (a *app) crewEnvCommand() *cobra.Command {
	return a.crewView("env", "Print a connected crew's ports as export lines for a shell", a.crewEnv)
}

func (a *app) crewEnv(ctx context.Context, h *home, name string) error {
	view, err := a.connected(ctx, h, name)
	if err != nil {
		return err
	}
	if view == nil {
		if _, err := a.crewLeases(ctx, h, crew.Filter{Crew: name}); err != nil {
			return err
		}
		return notConnected(name)
	}
	if a.out.json {
		return a.out.document(ports(*view))
	}
	a.out.raw(view.Env())
	return nil
}

// ports are the local addresses by member and port.
func ports(c api.Crew) map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, m := range c.Members {
		all[m.Slug] = map[string]string{}
		for _, f := range m.Forwards {
			if f.Local != "" {
				all[m.Slug][f.Port.String()] = f.Local
			}
		}
	}
	return all
}
