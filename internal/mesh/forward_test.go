package mesh_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"crabbox/internal/mesh"
	"crabbox/internal/mesh/meshtest"
)

const target = "127.0.0.1:8080"

func TestForwardCarriesBytesBothWays(t *testing.T) {
	box := meshtest.New(t)
	box.Echo(8080)
	m := start(t, mesh.Options{})
	apply(t, m, peer("web", box, target))
	until(t, m, "usable", forwardsAre("web", mesh.Usable))

	sent := make([]byte, 3<<20)
	rand.Read(sent)
	c := dial(t, localOf(m, "web"))
	var wg sync.WaitGroup
	wg.Go(func() {
		c.Write(sent)
		c.CloseWrite()
	})
	got, err := io.ReadAll(c)
	wg.Wait()
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes back of %d, error %v", len(got), len(sent), err)
	}
	s := until(t, m, "the connection ended", func(s mesh.Snapshot) bool { return link(s, "web").Forwards[0].Open == 0 || sleepABit() })
	f := link(s, "web").Forwards[0]
	if f.In != uint64(len(sent)) || f.Out != uint64(len(sent)) || f.Total != 1 {
		t.Errorf("counters: in %d, out %d, total %d", f.In, f.Out, f.Total)
	}
}

// sleepABit lets until poll for what is no change of state (counters).
func sleepABit() bool {
	time.Sleep(time.Millisecond)
	return false
}

// A caller that has said all it wants to say still hears the whole answer.
func TestHalfCloseIsKept(t *testing.T) {
	box := meshtest.New(t)
	box.Handle(8080, func(c net.Conn) {
		defer c.Close()
		asked, _ := io.ReadAll(c) // until the caller's end of file
		time.Sleep(20 * time.Millisecond)
		c.Write(append([]byte("you said "), asked...))
	})
	m := start(t, mesh.Options{})
	apply(t, m, peer("web", box, target))
	c := dial(t, localOf(m, "web"))
	io.WriteString(c, "hello")
	c.CloseWrite()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "you said hello" {
		t.Fatalf("got %q, %v", got, err)
	}
}

// The box closes first, while the caller still talks: the caller sees the end.
func TestBoxClosesFirst(t *testing.T) {
	box := meshtest.New(t)
	box.Handle(8080, func(c net.Conn) {
		io.WriteString(c, "bye")
		c.Close()
	})
	m := start(t, mesh.Options{})
	apply(t, m, peer("web", box, target))
	c := dial(t, localOf(m, "web"))
	c.SetDeadline(time.Now().Add(10 * time.Second))
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "bye" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestRefusedTargetResetsTheCaller(t *testing.T) {
	box := meshtest.New(t)
	m := start(t, mesh.Options{})
	apply(t, m, peer("web", box, target))
	until(t, m, "refused", forwardsAre("web", mesh.NoTarget))
	expectTurnedAway(t, localOf(m, "web"))

	// A service that comes up later is found without anybody calling.
	box.Echo(8080)
	until(t, m, "usable", forwardsAre("web", mesh.Usable))
	say(t, dial(t, localOf(m, "web")), "hello")
}

func TestProhibitedForwardingIsSaid(t *testing.T) {
	box := meshtest.New(t)
	box.Echo(8080)
	box.Prohibit(true)
	m := start(t, mesh.Options{})
	apply(t, m, peer("web", box, target))
	s := until(t, m, "prohibited", forwardsAre("web", mesh.Prohibited))
	if link(s, "web").State != mesh.Up {
		t.Errorf("the link is %s, want up: only the port cannot be used", link(s, "web").State)
	}
	expectTurnedAway(t, localOf(m, "web"))
}

// expectTurnedAway calls and checks that the connection is reset, be it before
// the dial has returned.
func expectTurnedAway(t *testing.T, address string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err == nil {
		defer c.Close()
		expectReset(t, c.(*net.TCPConn))
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("got %v, want a connection reset", err)
	}
}

// expectReset checks that a connection ends with an error, not an end of file.
func expectReset(t *testing.T, c *net.TCPConn) {
	t.Helper()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	_, err := io.ReadAll(c)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("got %v, want a connection reset", err)
	}
}

// Losing the connection in the middle of a stream must not look like its end.
func TestCutStreamIsResetNotEnded(t *testing.T) {
	box := meshtest.New(t)
	box.Echo(8080)
	m := start(t, mesh.Options{})
	apply(t, m, peer("web", box, target))
	c := dial(t, localOf(m, "web"))
	say(t, c, "hello")
	box.Cut()
	expectReset(t, c)
}

// A caller that stops reading holds up itself and nobody else.
func TestStuckReaderHoldsUpNobodyElse(t *testing.T) {
	box := meshtest.New(t)
	box.Handle(8080, func(c net.Conn) {
		defer c.Close()
		flood := make([]byte, 64<<10)
		for {
			if _, err := c.Write(flood); err != nil {
				return
			}
		}
	})
	box.Echo(9090)
	m := start(t, mesh.Options{})
	p := peer("web", box, target, "127.0.0.1:9090")
	apply(t, m, p)
	s := until(t, m, "usable", forwardsAre("web", mesh.Usable))
	stuck := dial(t, link(s, "web").Forwards[0].Local.String())
	io.ReadFull(stuck, make([]byte, 1<<20)) // the flood is running; now stop reading

	free := dial(t, link(s, "web").Forwards[1].Local.String())
	free.SetDeadline(time.Now().Add(20 * time.Second))
	for range 100 {
		say(t, free, "still here")
	}
}

func TestFallbackAddressIsTakenAndSaid(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	box := meshtest.New(t)
	box.Echo(8080)
	m := start(t, mesh.Options{})
	p := peer("web", box, target)
	p.Forwards[0].Listen = []netip.AddrPort{taken.Addr().(*net.TCPAddr).AddrPort(), loopback(0)}
	apply(t, m, p)
	s := until(t, m, "usable", forwardsAre("web", mesh.Usable))
	f := link(s, "web").Forwards[0]
	if !f.Fallback || f.Local == p.Forwards[0].Listen[0] || f.Reason == "" {
		t.Errorf("fallback %v at %v, reason %q", f.Fallback, f.Local, f.Reason)
	}
	say(t, dial(t, f.Local.String()), "hello")
}

// An address that is taken by another program is used as soon as it is free.
func TestTakenAddressIsBoundWhenFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := meshtest.New(t)
		box.Echo(8080)
		var n memory
		taken, _ := n.listen(loopback(1))
		m := start(t, mesh.Options{Listen: n.listen})
		p := peer("web", box, target)
		p.Forwards[0].Listen = []netip.AddrPort{loopback(1)}
		apply(t, m, p)
		s := until(t, m, "unbound", forwardsAre("web", mesh.Unbound))
		if link(s, "web").Forwards[0].Reason == "" {
			t.Error("no reason is given")
		}
		taken.Close()
		until(t, m, "usable", forwardsAre("web", mesh.Usable))
	})
}

func TestCountersOfRefusedCallers(t *testing.T) {
	box := meshtest.New(t)
	m := start(t, mesh.Options{})
	apply(t, m, peer("web", box, target))
	until(t, m, "refused", forwardsAre("web", mesh.NoTarget))
	for range 5 {
		expectTurnedAway(t, localOf(m, "web"))
	}
	f := link(m.Snapshot(), "web").Forwards[0]
	if f.Total != 5 || f.Refused != 5 {
		t.Errorf("total %d, refused %d, want 5 and 5", f.Total, f.Refused)
	}
}
