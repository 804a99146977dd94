package mesh_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"crabbox/internal/mesh"
	"crabbox/internal/mesh/meshtest"
)

func TestApplyTwiceChangesNothing(t *testing.T) {
	box := meshtest.New(t)
	box.Echo(8080)
	m := start(t, mesh.Options{})
	p := peer("web", box, target)
	apply(t, m, p)
	until(t, m, "usable", forwardsAre("web", mesh.Usable))
	address := localOf(m, "web")
	c := dial(t, address)
	say(t, c, "before")
	apply(t, m, p)
	say(t, c, "the stream goes on")
	if localOf(m, "web") != address || box.Dials() != 1 {
		t.Errorf("at %s after %d dials; was at %s", localOf(m, "web"), box.Dials(), address)
	}
}

func TestApplyAddsAndRemoves(t *testing.T) {
	web, db := meshtest.New(t), meshtest.New(t)
	web.Echo(8080)
	web.Echo(9090)
	db.Echo(8080)
	m := start(t, mesh.Options{})
	apply(t, m, peer("web", web, target))
	until(t, m, "usable", forwardsAre("web", mesh.Usable))
	kept := dial(t, localOf(m, "web"))
	say(t, kept, "one")

	apply(t, m, peer("web", web, target, "127.0.0.1:9090"), peer("db", db, target))
	s := until(t, m, "all usable", func(s mesh.Snapshot) bool {
		return forwardsAre("web", mesh.Usable)(s) && forwardsAre("db", mesh.Usable)(s) && len(link(s, "web").Forwards) == 2
	})
	say(t, kept, "a new forward and a new peer leave old streams alone")
	dbStream := dial(t, link(s, "db").Forwards[0].Local.String())
	say(t, dbStream, "hello")

	webAddress := localOf(m, "web")
	apply(t, m, peer("db", db, target))
	expectReset(t, kept)
	if c, err := net.Dial("tcp", webAddress); err == nil {
		c.Close()
		t.Error("the removed peer's listener is still there")
	}
	say(t, dbStream, "still here")
	if s := m.Snapshot(); len(s.Links) != 1 {
		t.Errorf("%d links, want 1", len(s.Links))
	}
}

// An address may pass from one peer to another within one Apply.
func TestAddressPassesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := meshtest.New(t), meshtest.New(t)
		a.Echo(8080)
		b.Echo(8080)
		var n memory
		m := start(t, mesh.Options{Listen: n.listen})
		pa, pb := peer("a", a, target), peer("b", b, target)
		pa.Forwards[0].Listen = []netip.AddrPort{fixed}
		pb.Forwards[0].Listen = []netip.AddrPort{loopback(2)}
		apply(t, m, pa, pb)
		pa.Forwards[0].Listen, pb.Forwards[0].Listen = pb.Forwards[0].Listen, pa.Forwards[0].Listen
		apply(t, m, pa, pb)
		s := until(t, m, "usable", forwardsAre("b", mesh.Usable))
		if got := link(s, "b").Forwards[0].Local; got != fixed {
			t.Errorf("b is at %v, want %v", got, fixed)
		}
	})
}

func TestRevisionDialsAnewAndKeepsTheListener(t *testing.T) {
	old, moved := meshtest.New(t), meshtest.New(t)
	old.Echo(8080)
	moved.Echo(8080)
	m := start(t, mesh.Options{})
	p := peer("web", old, target)
	apply(t, m, p)
	until(t, m, "usable", forwardsAre("web", mesh.Usable))
	address := localOf(m, "web")
	p.Dial, p.Revision = moved.Dial, "moved"
	apply(t, m, p)
	until(t, m, "usable at the new place", func(s mesh.Snapshot) bool {
		return moved.Dials() == 1 && forwardsAre("web", mesh.Usable)(s)
	})
	if localOf(m, "web") != address {
		t.Errorf("the listener moved from %s to %s", address, localOf(m, "web"))
	}
	say(t, dial(t, address), "hello")
}

func TestApplyRefusesNonsense(t *testing.T) {
	box := meshtest.New(t)
	m := start(t, mesh.Options{})
	apply(t, m, peer("web", box, target))
	for name, want := range map[string][]mesh.Peer{
		"no id":        {{Dial: box.Dial}},
		"twice":        {peer("a", box), peer("a", box)},
		"no dial":      {{ID: "a"}},
		"bad target":   {peer("a", box, "8080")},
		"target twice": {peer("a", box, target, target)},
	} {
		if err := m.Apply(want); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if s := m.Snapshot(); len(s.Links) != 1 || s.Links[0].ID != "web" {
		t.Errorf("a refused Apply changed something: %+v", s)
	}
}

func TestApplyAfterTheEnd(t *testing.T) {
	m := mesh.New(mesh.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.Run(ctx)
	if err := m.Apply(nil); !errors.Is(err, mesh.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// The end of the mesh does not wait for a peer that does not answer.
func TestEndIsQuickWithFrozenPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, never := meshtest.New(t), meshtest.New(t)
		up.Echo(8080)
		never.Freeze()
		var n memory
		m := mesh.New(mesh.Options{Listen: n.listen})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			m.Run(ctx)
		}()
		p, q := peer("up", up, target), peer("never", never, target)
		q.Forwards[0].Listen = []netip.AddrPort{loopback(2)}
		apply(t, m, p, q)
		until(t, m, "usable", forwardsAre("up", mesh.Usable))
		up.Freeze()
		began := time.Now()
		cancel()
		<-ended
		if took := time.Since(began); took > 0 {
			t.Errorf("the end took %v", took)
		}
	})
}
