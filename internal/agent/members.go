package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"crabbox/internal/box"
	"crabbox/internal/mesh"
	"crabbox/internal/store"
)

// createdBy is when a box that is still being created will hardly be any more.
const createdBy = 15 * time.Minute

// plan is what a pass of the loop made of claims and leases. It does not change
// once it is published, but for what is atomic.
type plan struct {
	pass  uint64
	crews []*connected // by name
}

// connected is a crew that is connected, or shall be.
type connected struct {
	claim       claim
	dir         string
	members     []*member // by slug
	problems    []string
	fileProblem atomic.Pointer[string]
}

func (c *connected) problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

func (c *connected) setFileProblem(text string) { c.fileProblem.Store(&text) }

// member is a box of a connected crew.
type member struct {
	lease   store.Lease
	keyFile string // the lease's private key
	seat    *seat
	link    *link
	names   []string
	peer    *mesh.Peer // nil: it is not linked, and the fields below say why
	state   mesh.LinkState
	reason  string
	remedy  string
	since   time.Time
	hostKey atomic.Pointer[string] // one of the words below; nil: not known yet
}

// How a member's host key is known.
const (
	keyGiven  = "given"         // before the first packet, by the provider
	keyPinned = "first contact" // by us, at the first login
	keyUsers  = "known_hosts"   // by the user's own file
)

// seat is a member's place on this machine. It outlives passes and leases: the
// mesh keeps a listener only while it is asked for the same addresses.
type seat struct {
	address netip.Addr
	listen  map[uint16][]netip.AddrPort
}

type seatKey struct{ crew, slug string }

func (p *plan) byID(id string) *member {
	for _, c := range p.crews {
		for _, m := range c.members {
			if string(m.lease.Box.ID) == id {
				return m
			}
		}
	}
	return nil
}

func (p *plan) crew(name string) *connected {
	for _, c := range p.crews {
		if c.claim.crew == name {
			return c
		}
	}
	return nil
}

func (p *plan) peers() []mesh.Peer {
	var peers []mesh.Peer
	for _, c := range p.crews {
		for _, m := range c.members {
			if m.peer != nil {
				peers = append(peers, *m.peer)
			}
		}
	}
	return peers
}

// lay makes the plan: which boxes belong to the claimed crews, and what each
// one's address, names and peer are.
func (l *loop) lay(ctx context.Context, claims []claim) *plan {
	slices.SortFunc(claims, func(a, b claim) int { return cmp.Compare(a.crew, b.crew) })
	p := &plan{}
	var boxes []box.Box
	l.next = time.Time{}
	for _, c := range claims {
		crew := &connected{claim: c, dir: l.store.CrewDir(c.crew)}
		for _, lease := range l.leases {
			if lease.Box.Crew != c.crew || !c.wants(lease.Box.Provider) {
				continue
			}
			if err := box.CheckName("slug", lease.Box.Slug); err != nil {
				crew.problem("lease %s is left out: %v", lease.Box.ID, err)
				continue
			}
			crew.members = append(crew.members, l.seatMember(ctx, crew, lease))
			boxes = append(boxes, lease.Box)
		}
		if len(crew.members) == 0 {
			crew.problem("it has no members now")
		}
		slices.SortFunc(crew.members, func(a, b *member) int {
			return cmp.Or(cmp.Compare(a.lease.Box.Slug, b.lease.Box.Slug), cmp.Compare(a.lease.Box.ID, b.lease.Box.ID))
		})
		p.crews = append(p.crews, crew)
	}
	all := names(boxes)
	for _, c := range p.crews {
		for _, m := range c.members {
			m.names = all[m.lease.Box.ID]
		}
	}
	l.forget(p)
	return p
}

// forget drops the memory of links and seats that the plan does not use.
func (l *loop) forget(p *plan) {
	used := map[string]bool{}
	seated := map[seatKey]bool{}
	for _, c := range p.crews {
		for _, m := range c.members {
			used[string(m.lease.Box.ID)] = true
			seated[seatKey{c.claim.crew, m.lease.Box.Slug}] = true
		}
	}
	for id := range l.links {
		if !used[id] {
			delete(l.links, id)
		}
	}
	for key := range l.seats {
		if !seated[key] {
			delete(l.seats, key)
		}
	}
}

// seatMember makes one member. Whatever is wrong with it is its own trouble.
func (l *loop) seatMember(ctx context.Context, c *connected, lease store.Lease) *member {
	b := lease.Box
	m := &member{lease: lease, since: lease.Updated, keyFile: l.store.KeyPath(b.ID)}
	if m.since.IsZero() {
		m.since = b.Created
	}
	if !b.Expires.IsZero() && !b.Expired(time.Now()) && (l.next.IsZero() || b.Expires.Before(l.next)) {
		l.next = b.Expires
	}
	m.link = l.links[string(b.ID)]
	if m.link == nil {
		m.link = &link{keeper: l.keeper}
		l.links[string(b.ID)] = m.link
	}
	var err error
	if m.seat, err = l.seat(ctx, c.claim.crew, lease); err != nil {
		c.problem("%s has no address of its own: %v", b.Slug, err)
		l.later("address of "+b.Slug, err)
	}
	if len(b.Endpoint.HostKey.Keys) > 0 {
		m.knownBy(keyGiven)
	} else if keys, err := l.store.Pinned(string(b.ID)); err == nil && len(keys) > 0 {
		m.knownBy(keyPinned)
	}
	switch {
	case b.Expired(time.Now()):
		m.state, m.since = mesh.Gone, b.Expires
		m.reason = "its time is over"
		m.remedy = "crabbox release " + string(b.ID) + " forgets it; crabbox warmup leases another."
		return m
	case b.State == box.Creating:
		m.state, m.since, m.reason = mesh.Connecting, b.Created, "being created"
		if time.Since(b.Created) > createdBy {
			m.reason = "its creation was never finished"
			m.remedy = "crabbox release " + string(b.ID) + " removes what is left of it."
		}
		return m
	}
	m.peer = &mesh.Peer{
		ID:         string(b.ID),
		Revision:   m.link.revise(lease),
		Dial:       m.link.dial,
		KeepAlive:  b.Endpoint.KeepAlive,
		Gate:       gate(b.Endpoint),
		ShareLocal: c.claim.shares(),
	}
	for _, p := range b.Expose {
		if p.Proto == box.TCP {
			m.peer.Forwards = append(m.peer.Forwards, mesh.Forward{Target: p.Target(), Listen: m.seat.listen[p.Number]})
		}
	}
	return m
}

// seat is the member's place: its own address, then the port of 127.0.0.1 that
// stood in last time, then any. It stays as it is for as long as the member is
// connected.
func (l *loop) seat(ctx context.Context, crew string, lease store.Lease) (s *seat, err error) {
	key := seatKey{crew, lease.Box.Slug}
	s = l.seats[key]
	if s == nil {
		s = &seat{listen: map[uint16][]netip.AddrPort{}}
		if s.address, err = l.store.Address(ctx, crew, lease.Box.Slug); err == nil {
			l.seats[key] = s
		} else {
			s.address = netip.Addr{} // 127.0.0.1 has to do until the next pass
		}
	}
	for _, p := range lease.Box.Expose {
		if p.Proto != box.TCP || s.listen[p.Number] != nil {
			continue
		}
		var listen []netip.AddrPort
		if s.address.IsValid() {
			listen = append(listen, netip.AddrPortFrom(s.address, p.Number))
		}
		if last := l.store.FallbackPort(crew, lease.Box.Slug, p); last != 0 {
			listen = append(listen, netip.AddrPortFrom(fallbackAddress, last))
		}
		s.listen[p.Number] = append(listen, netip.AddrPortFrom(fallbackAddress, 0))
	}
	return s, err
}

var fallbackAddress = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// rememberPorts writes down the ports of 127.0.0.1 that stand in for others, so
// that they are the same next time.
func (l *loop) rememberPorts(ctx context.Context, p *plan, status mesh.Snapshot) {
	for _, s := range status.Links {
		m := p.byID(s.ID)
		if m == nil {
			continue
		}
		for _, f := range s.Forwards {
			for _, port := range m.lease.Box.Expose {
				if !f.Local.IsValid() || f.Local.Addr() != fallbackAddress || port.Proto != box.TCP || port.Target() != f.Target {
					continue
				}
				err := l.store.SetFallbackPort(ctx, m.lease.Box.Crew, m.lease.Box.Slug, port, f.Local.Port())
				if err != nil && !errors.Is(err, context.Canceled) {
					l.later("fallback port", err)
				}
			}
		}
	}
}

// learnHostKeys finds out how a host key was known that turned out right.
func (l *loop) learnHostKeys(p *plan, status mesh.Snapshot) {
	for _, s := range status.Links {
		m := p.byID(s.ID)
		if m == nil || s.State != mesh.Up || m.hostKey.Load() != nil {
			continue
		}
		keys, err := l.store.Pinned(s.ID)
		switch {
		case err != nil:
			continue
		case len(keys) > 0:
			m.knownBy(keyPinned)
		default:
			m.knownBy(keyUsers)
		}
	}
}

func (m *member) knownBy(how string) { m.hostKey.Store(&how) }
