package mesh_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"crabbox/internal/mesh"
	"crabbox/internal/netlab"
	"crabbox/internal/sshdtest"
)

// Three hosts with a real sshd and the same service port each. One loses its
// link without a word, one comes back with another address, the third must not
// notice.
func TestHostsLoseTheirLink(t *testing.T) {
	netlab.Run(t, func(lab *netlab.Lab) {
		m := start(t, mesh.Options{})
		hosts := map[string]*netlab.Host{}
		var peers []mesh.Peer
		var moved, steady *netlab.Host
		for i, name := range []string{"web", "api", "db"} {
			h := lab.Host(name)
			hosts[name] = h
			server := sshdtest.Start(t, sshdtest.Options{
				Host: "0.0.0.0", Port: 2222, Wrap: append([]string{"nsenter"}, h.Enter()...),
			})
			h.Do(func() {
				l, err := net.Listen("tcp", "127.0.0.1:8080")
				if err != nil {
					t.Error(err)
					return
				}
				serveEcho(t, l)
			})
			p := mesh.Peer{
				ID:   name,
				Dial: dialer(t, server, func() string { return netip.AddrPortFrom(h.Addr, 2222).String() }),
				Forwards: []mesh.Forward{{
					Target: "127.0.0.1:8080",
					Listen: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 64, byte(i + 1)}), 8080)},
				}},
			}
			peers = append(peers, p)
		}
		moved, steady = hosts["api"], hosts["db"]
		apply(t, m, peers...)
		for name := range hosts {
			until(t, m, name+" usable", forwardsAre(name, mesh.Usable))
		}
		stream := dial(t, localOf(m, steady.Name))
		say(t, stream, "before")

		lost := time.Now()
		hosts["web"].Unplug()
		until(t, m, "noticed", func(s mesh.Snapshot) bool { return link(s, "web").State != mesh.Up })
		if took := time.Since(lost); took > 11*time.Second {
			t.Errorf("the dead path was noticed after %v", took)
		}
		say(t, stream, "meanwhile")
		hosts["web"].Plug()
		say(t, dial(t, localOf(m, "web")), "back again")

		moved.Move(netip.MustParseAddr("10.77.0.200"))
		m.Cut(moved.Name)
		say(t, dial(t, localOf(m, moved.Name)), "at another address")

		say(t, stream, "after")
		s := m.Snapshot()
		if l := link(s, steady.Name); l.Heals != 0 || l.State != mesh.Up {
			t.Errorf("the steady host: %+v", l)
		}
		for i, p := range peers {
			if got := link(s, p.ID).Forwards[0].Local; got != peers[i].Forwards[0].Listen[0] {
				t.Errorf("%s is at %v now", p.ID, got)
			}
		}
	})
}
