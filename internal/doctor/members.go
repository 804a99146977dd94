package doctor

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/agent/api"
	"crabbox/internal/agent/client"
	"crabbox/internal/box"
	"crabbox/internal/crew"
	"crabbox/internal/fault"
	"crabbox/internal/store"
)

const (
	loginTime = 20 * time.Second // for one member's login
	portTime  = 10 * time.Second // for one port's answer
)

// member is one member under examination. Its checks run one after the other
// and share what they find.
//
//	member-box -> member-reachable -> member-host-key -> member-login -> member-port, for each
type member struct {
	*examination
	lease store.Lease
	link  *api.Member // the agent's view; nil when the crew is not connected
	// tried is the outcome of the one login that serves three checks, since
	// servers punish connections that do not log in.
	client *ssh.Client
	err    error
}

// members are the checks of a crew. A crew that is connected is seen through
// the agent; any other is logged in to here.
func (e *examination) members(ctx context.Context) []check {
	name := e.request.Crew
	leases, _, err := e.Keeper.List(ctx, crew.Filter{Crew: name, Provider: e.request.Provider}, false)
	if err != nil || len(leases) == 0 {
		return []check{{code: "crew", subject: name, run: func(context.Context) Result {
			if err != nil {
				return fail(err.Error(), fault.RemedyOf(err))
			}
			return fail("it has no members", "crabbox warmup --crew "+name+" --expose PORT leases one.")
		}}}
	}
	links, view := map[box.ID]*api.Member{}, e.connected(ctx)
	if view != nil {
		for i := range view.Members {
			links[view.Members[i].Lease] = &view.Members[i]
		}
	}
	checks := []check{{code: "crew", subject: name, run: func(context.Context) Result { return crewResult(name, view, len(leases)) }}}
	for _, l := range leases {
		m := &member{examination: e, lease: l, link: links[l.Box.ID]}
		checks = append(checks, m.checks()...)
	}
	return checks
}

func (e *examination) connected(ctx context.Context) *api.Crew {
	c, err := client.Find(ctx, e.Agent)
	if err != nil {
		return nil
	}
	view, err := c.Crew(ctx, e.request.Crew)
	if err != nil {
		return nil
	}
	return &view
}

func crewResult(name string, view *api.Crew, members int) Result {
	if view == nil {
		return ok(howMany(members, "member") + ", not connected")
	}
	if len(view.Problems) > 0 {
		return warn(view.Problems[0], "crabbox crew status "+name)
	}
	return ok(fmt.Sprintf("%s, connected since %s", howMany(members, "member"), view.Since.Local().Format(time.DateTime)))
}

func howMany(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func (m *member) checks() []check {
	slug := m.lease.Box.Slug
	checks := []check{
		{code: "member-box", subject: slug, run: m.boxExists},
		{code: "member-reachable", subject: slug, needs: []string{key("member-box", slug)}, run: m.reachable},
		{code: "member-host-key", subject: slug, needs: []string{key("member-reachable", slug)}, run: m.hostKey},
		{code: "member-login", subject: slug, needs: []string{key("member-host-key", slug)}, run: m.login},
	}
	for _, p := range m.lease.Box.Expose {
		checks = append(checks, check{
			code: "member-port", subject: slug + " port " + p.String(),
			needs: []string{key("member-login", slug)},
			run:   func(ctx context.Context) Result { return m.port(ctx, p) },
		})
	}
	return checks
}

func (m *member) boxExists(ctx context.Context) Result {
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	fresh, err := m.Keeper.Refresh(ctx, m.lease)
	id := string(m.lease.Box.ID)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return fail("provider "+m.lease.Box.Provider+" says that it is gone", "crabbox release "+id+" forgets it; crabbox warmup leases a new one.")
	case err != nil:
		return fail(err.Error(), cmp.Or(fault.RemedyOf(err), "Try again; the provider may be in trouble."))
	}
	m.lease = fresh
	switch b := fresh.Box; {
	case b.Expired(time.Now()):
		return fail("its time is over", "crabbox release "+id)
	case b.State != box.Running:
		return fail("it is "+string(b.State), "Wait for it: crabbox status --wait "+id)
	}
	return ok("provider " + fresh.Box.Provider + " says that it runs")
}

// reachable logs in, and keeps the outcome for the checks that follow.
func (m *member) reachable(ctx context.Context) Result {
	if m.link != nil {
		if m.link.State == api.LinkUp {
			return ok(fmt.Sprintf("the agent is connected, %.1f ms round trip", m.link.RoundTrip*1000))
		}
		if m.link.State != api.LinkRefused {
			return fail(cmp.Or(m.link.Reason, "the link is "+string(m.link.State)), cmp.Or(m.link.Remedy, "The agent tries again by itself."))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	target, err := m.Keeper.Target(m.lease)
	if err != nil {
		return fail(err.Error(), fault.RemedyOf(err))
	}
	m.client, m.err = m.Login.Connect(ctx, target)
	if m.err == nil {
		m.logins = append(m.logins, m.client)
	}
	switch fault.KindOf(m.err) {
	case "", fault.Credentials, fault.Conflict:
		return ok("its SSH server answers")
	}
	return fail(m.err.Error(), fault.RemedyOf(m.err))
}

func (m *member) hostKey(context.Context) Result {
	if fault.KindOf(m.err) == fault.Conflict {
		return fail(m.err.Error(), fault.RemedyOf(m.err))
	}
	if m.link != nil && m.link.HostKey != "" {
		switch m.link.HostKey {
		case "given":
			return ok("known before the first contact")
		case "first contact":
			return ok("remembered since the first contact")
		}
		return ok("known by your known_hosts")
	}
	if len(m.lease.Box.Endpoint.HostKey.Keys) > 0 {
		return ok("known before the first contact")
	}
	pins, err := m.Store.Pinned(string(m.lease.Box.ID))
	switch {
	case err != nil:
		return warn(err.Error(), fault.RemedyOf(err))
	case len(pins) > 0:
		return ok("remembered since the first contact: " + ssh.FingerprintSHA256(pins[0]))
	}
	return ok("known by your known_hosts")
}

func (m *member) login(context.Context) Result {
	if m.err != nil {
		return fail(m.err.Error(), fault.RemedyOf(m.err))
	}
	if m.link != nil && m.link.State == api.LinkRefused {
		return fail("it works from here, but the agent was refused: "+m.link.Reason, "crabbox crew connect "+m.request.Crew+" lets it try again.")
	}
	return ok("logged in")
}

func (m *member) port(ctx context.Context, p box.Port) Result {
	if p.Proto == box.UDP {
		return warn("UDP cannot be carried yet", "")
	}
	if m.link != nil && m.client == nil {
		for _, f := range m.link.Forwards {
			if f.Port == p {
				return seenByAgent(f)
			}
		}
	}
	if m.client == nil {
		return Result{Finding: Skip, Detail: "the agent does not carry it yet"}
	}
	ctx, cancel := context.WithTimeout(ctx, portTime)
	defer cancel()
	if err := Probe(ctx, m.client, p); err != nil {
		return fail(err.Error(), fault.RemedyOf(err))
	}
	return ok("something accepts there")
}

func seenByAgent(f api.Forward) Result {
	switch f.State {
	case api.PortUsable:
		return ok("usable at " + f.Local)
	case api.PortRefused:
		return fail("nothing listens there", startService)
	case api.PortProhibited:
		return fail("the box's SSH server forbids forwarding", allowForwarding)
	}
	return fail(cmp.Or(f.Reason, string(f.State)), "crabbox crew status shows how it goes on.")
}
