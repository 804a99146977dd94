package agent

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"crabbox/internal/agent/api"
	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/mesh"
)

// crew is how a connected crew is now; NotFound when it is not connected.
func (a *agent) crew(name string) (api.Crew, error) {
	p, _ := a.look()
	c := p.crew(name)
	if c == nil {
		if err := box.CheckName("crew", name); err != nil {
			return api.Crew{}, err
		}
		return api.Crew{}, fault.New(fault.NotFound, "crabbox crew connect "+name+" connects it.", "crew %s is not connected", name)
	}
	return view(c, a.mesh.Snapshot()), nil
}

// crews is how all connected crews are now.
func (a *agent) crews() []api.Crew {
	p, _ := a.look()
	status := a.mesh.Snapshot()
	all := make([]api.Crew, 0, len(p.crews))
	for _, c := range p.crews {
		all = append(all, view(c, status))
	}
	return all
}

// view joins what is planned for a crew with how its links are.
func view(c *connected, status mesh.Snapshot) api.Crew {
	v := api.Crew{
		Name:     c.claim.crew,
		Detached: c.claim.detached != nil,
		Holders:  len(c.claim.holders),
		Dir:      c.dir,
		Since:    c.claim.since,
		Members:  make([]api.Member, 0, len(c.members)),
		Problems: slices.Clone(c.problems),
	}
	if text := c.fileProblem.Load(); text != nil && *text != "" {
		v.Problems = append(v.Problems, *text)
	}
	for _, m := range c.members {
		id := string(m.lease.Box.ID)
		i, ok := slices.BinarySearchFunc(status.Links, id, func(s mesh.LinkStatus, id string) int { return cmp.Compare(s.ID, id) })
		var s mesh.LinkStatus
		switch {
		case ok && m.peer != nil:
			s = status.Links[i]
		case m.peer != nil: // the mesh has not taken it over, or does not hold it any more
			s = mesh.LinkStatus{ID: id, State: mesh.Connecting, Since: m.since}
		default:
			s = mesh.LinkStatus{ID: id, State: m.state, Since: m.since, Reason: m.reason}
		}
		v.Members = append(v.Members, memberView(m, s))
	}
	return v
}

func memberView(m *member, s mesh.LinkStatus) api.Member {
	b := m.lease.Box
	v := api.Member{
		Lease: b.ID, Slug: b.Slug, Role: b.Role, Provider: b.Provider,
		Names: slices.Clone(m.names),
		State: s.State, Since: s.Since, NextTry: s.NextTry,
		RoundTrip: s.RoundTrip.Seconds(), Heals: s.Heals, Attempts: s.Attempts,
		Expires:  b.Expires,
		Forwards: make([]api.Forward, 0, len(b.Expose)),
	}
	if m.seat.address.IsValid() {
		v.Address = m.seat.address.String()
	}
	if how := m.hostKey.Load(); how != nil {
		v.HostKey = *how
	}
	if s.State != mesh.Up {
		v.Reason, v.Remedy = oneLine(s.Reason), remedy(m, s)
	}
	ports := slices.Clone(b.Expose)
	box.SortPorts(ports)
	for _, p := range ports {
		v.Forwards = append(v.Forwards, forwardView(p, s, m.since))
	}
	return v
}

func forwardView(p box.Port, s mesh.LinkStatus, since time.Time) api.Forward {
	if p.Proto != box.TCP {
		return api.Forward{Port: p, State: api.Unsupported, Since: since, Reason: "SSH carries no UDP"}
	}
	i := slices.IndexFunc(s.Forwards, func(f mesh.ForwardStatus) bool { return f.Target == p.Target() })
	if i < 0 {
		return api.Forward{Port: p, State: mesh.Down, Since: s.Since}
	}
	f := s.Forwards[i]
	v := api.Forward{
		Port: p, Fallback: f.Fallback, State: f.State, Since: f.Since,
		Reason: oneLine(f.Reason), Proven: f.Proven, Open: f.Open, Held: f.Held,
		Total: f.Total, Refused: f.Refused, Strangers: f.Strangers, BytesIn: f.In, BytesOut: f.Out,
	}
	if f.Local.IsValid() {
		v.Local = f.Local.String()
	}
	return v
}

// remedy is what a person can do about a link that is not up.
func remedy(m *member, s mesh.LinkStatus) string {
	if m.remedy != "" {
		return m.remedy
	}
	if text := fault.RemedyOf(s.Err); text != "" {
		return text
	}
	switch s.State {
	case mesh.Refused:
		return "crabbox doctor --crew " + m.lease.Box.Crew + " says more; connecting the crew again tries once more."
	case mesh.Gone:
		return "crabbox release " + string(m.lease.Box.ID) + " forgets it."
	}
	return ""
}

// oneLine keeps a reason to its first line: tables and logs have room for one.
func oneLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
