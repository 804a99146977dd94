package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/mesh"
	"crabbox/internal/mesh/meshtest"
)

// fixed is where the callers of tests under fake time call.
var fixed = loopback(8080)

// inMemory runs a mesh with one peer whose first forward listens in memory at fixed.
func inMemory(t *testing.T, box *meshtest.Box) (*mesh.Mesh, *memory) {
	t.Helper()
	var n memory
	m := start(t, mesh.Options{Listen: n.listen})
	p := peer("web", box, target)
	p.Forwards[0].Listen = []netip.AddrPort{fixed}
	apply(t, m, p)
	return m, &n
}

func TestCutHealsAndTheListenerStays(t *testing.T) {
	box := meshtest.New(t)
	box.Echo(8080)
	m := start(t, mesh.Options{})
	apply(t, m, peer("web", box, target))
	until(t, m, "usable", forwardsAre("web", mesh.Usable))
	address := localOf(m, "web")
	for range 3 {
		box.Cut()
		say(t, dial(t, address), "held a moment, then served")
	}
	s := until(t, m, "usable", forwardsAre("web", mesh.Usable))
	if l := link(s, "web"); l.Forwards[0].Local.String() != address || l.Heals < 3 {
		t.Errorf("at %v after %d heals; was at %s", l.Forwards[0].Local, l.Heals, address)
	}
}

func TestMeshCut(t *testing.T) {
	box := meshtest.New(t)
	box.Echo(8080)
	m := start(t, mesh.Options{})
	apply(t, m, peer("web", box, target))
	until(t, m, "usable", forwardsAre("web", mesh.Usable))
	if !m.Cut("web") || m.Cut("nobody") {
		t.Error("Cut did not tell which link there is")
	}
	until(t, m, "healed", func(s mesh.Snapshot) bool { return link(s, "web").Heals == 1 })
}

func TestDeadPathIsNoticedAndHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := meshtest.New(t)
		box.Echo(8080)
		m, n := inMemory(t, box)
		until(t, m, "usable", forwardsAre("web", mesh.Usable))
		for _, idle := range []time.Duration{0, 3 * time.Second, 29 * time.Second} {
			time.Sleep(idle)
			frozen := time.Now()
			box.Freeze()
			until(t, m, "noticed", func(s mesh.Snapshot) bool { return link(s, "web").State != mesh.Up })
			if took := time.Since(frozen); took > 10*time.Second {
				t.Errorf("noticed after %v", took)
			}
			box.Thaw()
			c, err := n.call(fixed)
			if err != nil {
				t.Fatal(err)
			}
			say(t, c, "hello again")
			c.Close()
			until(t, m, "usable", forwardsAre("web", mesh.Usable))
		}
	})
}

func TestCallersAreHeldThenReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := meshtest.New(t)
		box.Refuse(true)
		m, n := inMemory(t, box)
		until(t, m, "waiting", linkIs("web", mesh.Waiting))
		called := time.Now()
		c, err := n.call(fixed)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if held := link(m.Snapshot(), "web").Forwards[0].Held; held != 1 {
			t.Errorf("%d callers held, want 1", held)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the caller got bytes from nowhere")
		}
		if took := time.Since(called); took != 8*time.Second {
			t.Errorf("held for %v, want 8s", took)
		}
	})
}

func TestHeldCallersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := meshtest.New(t)
		box.Refuse(true)
		m, n := inMemory(t, box)
		until(t, m, "waiting", linkIs("web", mesh.Waiting))
		for range 600 {
			c, err := n.call(fixed)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		synctest.Wait()
		f := link(m.Snapshot(), "web").Forwards[0]
		if f.Held != 512 || f.Refused != 88 {
			t.Errorf("held %d, refused %d of 600; want 512 and 88", f.Held, f.Refused)
		}
	})
}

func TestKnockEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := meshtest.New(t)
		box.Echo(8080)
		box.Refuse(true)
		m, n := inMemory(t, box)
		time.Sleep(2 * time.Minute) // the back-off is at its longest now
		until(t, m, "waiting", linkIs("web", mesh.Waiting))
		box.Refuse(false)
		called := time.Now()
		c, err := n.call(fixed)
		if err != nil {
			t.Fatal(err)
		}
		say(t, c, "knock")
		c.Close()
		if took := time.Since(called); took > 100*time.Millisecond {
			t.Errorf("served after %v", took)
		}
	})
}

// Attempts go on for ever, at a pace that a server can bear.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := meshtest.New(t)
		box.Refuse(true)
		m, n := inMemory(t, box)
		time.Sleep(time.Hour)
		if dials := box.Dials(); dials < 3600/15 || dials > 3600/7+20 {
			t.Errorf("%d dials in an hour, want one each 7.5 to 15 s", dials)
		}
		// A caller who waits makes it try about every half second, many
		// callers no more often.
		before := box.Dials()
		for range 50 {
			c, err := n.call(fixed)
			if err != nil {
				t.Fatal(err)
			}
			go io.Copy(io.Discard, c)
		}
		time.Sleep(8 * time.Second)
		if dials := box.Dials() - before; dials < 12 || dials > 60 {
			t.Errorf("%d dials in 8 s with callers waiting", dials)
		}
		box.Refuse(false)
		until(t, m, "up", linkIs("web", mesh.Up))
	})
}

func TestChangedHostKeyIsRefusedAndHarmsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := meshtest.New(t), meshtest.New(t)
		good.Echo(8080)
		m := start(t, mesh.Options{Listen: (&memory{}).listen})
		a, b := peer("bad", bad, target), peer("good", good, target)
		b.Forwards[0].Listen = []netip.AddrPort{loopback(2)}
		apply(t, m, a, b)
		until(t, m, "up", linkIs("bad", mesh.Up))
		until(t, m, "usable", forwardsAre("good", mesh.Usable))
		bad.ChangeKey()
		bad.Cut()
		s := until(t, m, "refused", linkIs("bad", mesh.Refused))
		if l := link(s, "bad"); !errors.Is(l.Err, mesh.ErrRefused) || l.Reason == "" {
			t.Errorf("reason %q, error %v", l.Reason, l.Err)
		}
		dials := bad.Dials()
		time.Sleep(10 * time.Minute)
		if bad.Dials() != dials {
			t.Error("a refused host key was tried again by itself")
		}
		if l := link(m.Snapshot(), "good"); l.State != mesh.Up || l.Heals != 0 {
			t.Errorf("the other link: %+v", l)
		}
	})
}

func TestRefusedKeyWaitsForAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := meshtest.New(t)
		box.Echo(8080)
		box.RefuseKey(true)
		m, n := inMemory(t, box)
		until(t, m, "refused", linkIs("web", mesh.Refused))

		called := time.Now()
		c, err := n.call(fixed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil || time.Since(called) != 0 {
			t.Errorf("a caller of a refused link was held for %v (%v)", time.Since(called), err)
		}

		box.RefuseKey(false)
		if !m.Retry("web") {
			t.Fatal("no such link")
		}
		until(t, m, "usable", forwardsAre("web", mesh.Usable))

		box.RefuseKey(true)
		box.Cut()
		until(t, m, "refused", linkIs("web", mesh.Refused))
		box.RefuseKey(false)
		p := peer("web", box, target)
		p.Forwards[0].Listen = []netip.AddrPort{fixed}
		p.Revision = "another key"
		apply(t, m, p)
		until(t, m, "usable", forwardsAre("web", mesh.Usable))
	})
}

func TestGonePeerIsNotDialledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		var n memory
		m := start(t, mesh.Options{Listen: n.listen})
		apply(t, m, mesh.Peer{
			ID: "web",
			Dial: func(context.Context) (net.Conn, *ssh.ClientConfig, error) {
				dials.Add(1)
				return nil, nil, fmt.Errorf("asking the provider: %w", mesh.ErrGone)
			},
			Forwards: []mesh.Forward{{Target: target, Listen: []netip.AddrPort{fixed}}},
		})
		until(t, m, "gone", linkIs("web", mesh.Gone))
		if c, err := n.call(fixed); err != nil {
			t.Fatal(err)
		} else if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("got bytes from a box that is gone")
		}
		time.Sleep(10 * time.Minute)
		if dials.Load() != 1 {
			t.Errorf("dialled %d times", dials.Load())
		}
	})
}

// A server that accepts and never speaks costs one attempt's time, not the link.
func TestSilentServerIsGivenUpAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n memory
		var dials atomic.Int32
		box := meshtest.New(t)
		box.Echo(8080)
		m := start(t, mesh.Options{Listen: n.listen})
		apply(t, m, mesh.Peer{
			ID: "web",
			Dial: func(ctx context.Context) (net.Conn, *ssh.ClientConfig, error) {
				c, config, err := box.Dial(ctx)
				if dials.Add(1) > 1 || err != nil {
					return c, config, err
				}
				c.Close()
				ours, theirs := net.Pipe()
				go io.Copy(io.Discard, theirs) // listens, says nothing
				return ours, config, nil
			},
			Forwards: []mesh.Forward{{Target: target, Listen: []netip.AddrPort{fixed}}},
		})
		began := time.Now()
		until(t, m, "waiting", linkIs("web", mesh.Waiting))
		if took := time.Since(began); took != 15*time.Second {
			t.Errorf("given up after %v, want 15s", took)
		}
		until(t, m, "usable", forwardsAre("web", mesh.Usable))
	})
}

// "Usable" is never older than the probe interval, and probing is rare.
func TestProofsAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := meshtest.New(t)
		var calls atomic.Int32
		box.Handle(8080, func(c net.Conn) {
			calls.Add(1)
			c.Close()
		})
		m, _ := inMemory(t, box)
		until(t, m, "usable", forwardsAre("web", mesh.Usable))
		for range 60 {
			time.Sleep(10 * time.Second)
			synctest.Wait()
			f := link(m.Snapshot(), "web").Forwards[0]
			if age := time.Since(f.Proven); f.State != mesh.Usable || age > 10*time.Second {
				t.Fatalf("%s, proven %v ago", f.State, age)
			}
		}
		if n := calls.Load(); n > 62 {
			t.Errorf("%d probes in ten minutes", n)
		}
		box.Handle(8080, nil)
		gone := time.Now()
		until(t, m, "refused", forwardsAre("web", mesh.NoTarget))
		if took := time.Since(gone); took > 10*time.Second {
			t.Errorf("a service that went away was called usable for %v", took)
		}
	})
}

// A long path slows callers down and breaks nothing.
func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := meshtest.New(t)
		box.Echo(8080)
		box.SetLatency(300 * time.Millisecond)
		m, n := inMemory(t, box)
		until(t, m, "usable", forwardsAre("web", mesh.Usable))
		time.Sleep(time.Minute)
		c, err := n.call(fixed)
		if err != nil {
			t.Fatal(err)
		}
		say(t, c, "slow but sure")
		c.Close()
		l := link(m.Snapshot(), "web")
		if l.Heals != 0 || l.RoundTrip < 300*time.Millisecond || l.RoundTrip > 2*time.Second {
			t.Errorf("heals %d, round trip %v", l.Heals, l.RoundTrip)
		}
	})
}
