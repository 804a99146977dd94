package cli

import (
	"context"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"crabbox/internal/box"
	"crabbox/internal/crew"
)

// peer is a member as crew peers shows it.
type peer struct {
	Slug    string     `json:"slug"`
	Role    string     `json:"role,omitempty"`
	Address string     `json:"address"`
	Names   []string   `json:"names"`
	Ports   []box.Port `json:"ports"`
}

func (a *app) crewPeersCommand() *cobra.Command {
	return a.crewView("peers", "Show the members' addresses and names", a.crewPeers)
}

func (a *app) crewPeers(ctx context.Context, h *home, name string) error {
	peers, err := a.peers(ctx, h, name)
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.document(peers)
	}
	t := &table{head: []string{"MEMBER", "ROLE", "ADDRESS", "PORTS", "NAMES"}}
	for _, p := range peers {
		t.row(p.Slug, p.Role, p.Address, portList(p.Ports), strings.Join(p.Names, " "))
	}
	a.out.table(t)
	return nil
}

// peers are the members with the addresses they have, or would have once the
// crew is connected.
func (a *app) peers(ctx context.Context, h *home, name string) ([]peer, error) {
	view, err := a.connected(ctx, h, name)
	if err != nil {
		return nil, err
	}
	peers := []peer{}
	if view != nil {
		for _, m := range view.Members {
			p := peer{m.Slug, m.Role, m.Address, m.Names, []box.Port{}}
			for _, f := range m.Forwards {
				p.Ports = append(p.Ports, f.Port)
			}
			peers = append(peers, p)
		}
		return peers, nil
	}
	leases, err := a.crewLeases(ctx, h, crew.Filter{Crew: name})
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		var address netip.Addr
		if address, err = h.store.Address(ctx, name, l.Box.Slug); err != nil {
			return nil, err
		}
		ports := append([]box.Port{}, l.Box.Expose...)
		peers = append(peers, peer{l.Box.Slug, l.Box.Role, address.String(), []string{l.Box.Slug + "." + name + ".cbx"}, ports})
	}
	return peers, nil
}
