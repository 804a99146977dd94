package cli

import (
	"context"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"crabbox/internal/box"
	"crabbox/internal/crew"
)

// planned is one port of one member as connect would carry it.
type planned struct {
	Member string   `json:"member"`
	Lease  box.ID   `json:"lease"`
	Login  string   `json:"login"`
	Port   box.Port `json:"port"`
	Local  string   `json:"local,omitempty"`
	Plane  string   `json:"plane,omitempty"`
	Remark string   `json:"remark,omitempty"`
}

func (a *app) crewPlanCommand() *cobra.Command {
	return a.crewView("plan", "Show what connect would do, without doing it", a.crewPlan)
}

func (a *app) crewPlan(ctx context.Context, h *home, name string) error {
	leases, err := a.crewLeases(ctx, h, crew.Filter{Crew: name})
	if err != nil {
		return err
	}
	plan := []planned{}
	now := time.Now()
	for _, l := range leases {
		address, err := h.store.Address(ctx, name, l.Box.Slug)
		if err != nil {
			return err
		}
		for _, port := range l.Box.Expose {
			p := planned{Member: l.Box.Slug, Lease: l.Box.ID, Login: where(l.Box.Endpoint), Port: port}
			if port.Proto == box.UDP {
				p.Remark = "UDP cannot be carried yet"
			} else {
				p.Plane = "ssh"
				p.Local = netip.AddrPortFrom(address, port.Number).String()
			}
			if state := stateCell(l.Box, now).text; state != string(box.Running) {
				p.Remark = "the box is " + state
			}
			plan = append(plan, p)
		}
	}
	if a.out.json {
		return a.out.document(plan)
	}
	if len(plan) == 0 {
		a.out.say("no member of crew %s exposes a port; connect would only write its ssh_config", name)
		return nil
	}
	t := &table{head: []string{"MEMBER", "PORT", "LOCAL ADDRESS", "OVER", "LOGIN", "REMARK"}}
	for _, p := range plan {
		t.row(p.Member, p.Port, p.Local, p.Plane, p.Login, p.Remark)
	}
	a.out.table(t)
	a.out.say("a local address that cannot be had is replaced by a free port of 127.0.0.1, which stays the same")
	return nil
}
