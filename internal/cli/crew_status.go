package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"crabbox/internal/agent/api"
	"crabbox/internal/box"
	"crabbox/internal/crew"
	"crabbox/internal/store"
)

func (a *app) crewStatusCommand() *cobra.Command {
	return a.crewView("status", "Show a crew's members and whether their ports are usable", a.crewStatus)
}

func (a *app) crewStatus(ctx context.Context, h *home, name string) error {
	view, err := a.connected(ctx, h, name)
	if err != nil {
		return err
	}
	if view == nil {
		leases, err := a.crewLeases(ctx, h, crew.Filter{Crew: name})
		if err != nil {
			return err
		}
		return a.unconnectedStatus(name, leases)
	}
	if a.out.json {
		if err := a.out.document(struct {
			Connected bool `json:"connected"`
			*api.Crew
		}{true, view}); err != nil {
			return err
		}
		return a.shortcomings(*view)
	}
	how := "held by a command that stays"
	if view.Detached {
		how = "until it is disconnected"
	}
	a.out.line("crew %s is connected since %s, %s", name, view.Since.Local().Format(time.DateTime), how)
	t := &table{head: []string{"MEMBER", "PROVIDER", "LINK", "ADDRESS", "ENDS"}}
	now := time.Now()
	for _, m := range view.Members {
		tone := doubt
		if m.State == api.LinkUp {
			tone = good
		}
		t.row(m.Slug, m.Provider, cell{linkText(m), tone}, m.Address, expiry(box.Box{Expires: m.Expires}, now))
	}
	a.out.table(t)
	a.out.raw("\n")
	a.out.table(portTable(*view))
	return a.shortcomings(*view)
}

func (a *app) unconnectedStatus(name string, leases []store.Lease) error {
	now := time.Now()
	if a.out.json {
		views := make([]leaseView, len(leases))
		for i, l := range leases {
			views[i] = view(l, now)
		}
		return a.out.document(struct {
			Name      string      `json:"name"`
			Connected bool        `json:"connected"`
			Leases    []leaseView `json:"leases"`
		}{name, false, views})
	}
	a.out.line("crew %s is not connected; crabbox crew connect %s connects it", name, name)
	t := &table{head: []string{"MEMBER", "PROVIDER", "STATE", "EXPOSES", "ENDS"}}
	for _, l := range leases {
		t.row(l.Box.Slug, l.Box.Provider, stateCell(l.Box, now), portList(l.Box.Expose), expiry(l.Box, now))
	}
	a.out.table(t)
	return nil
}
