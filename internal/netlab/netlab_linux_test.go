package netlab

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestHostsLoseTheirLinkAndMove(t *testing.T) {
	Run(t, func(lab *Lab) {
		a, b := lab.Host("a"), lab.Host("b")
		var listener net.Listener
		a.Do(func() {
			var err error
			if listener, err = net.Listen("tcp", ":8080"); err != nil {
				t.Error(err)
			}
		})
		defer listener.Close()
		reach := func(h *Host, to netip.Addr) (err error) {
			h.Do(func() {
				var c net.Conn
				if c, err = net.DialTimeout("tcp", to.String()+":8080", 500*time.Millisecond); err == nil {
					c.Close()
				}
			})
			return err
		}
		if err := reach(b, a.Addr); err != nil {
			t.Fatal(err)
		}
		a.Unplug()
		if reach(b, a.Addr) == nil {
			t.Error("reached an unplugged host")
		}
		a.Plug()
		if err := reach(b, a.Addr); err != nil {
			t.Error(err)
		}
		old := a.Addr
		a.Move(netip.MustParseAddr("10.77.0.99"))
		if err := reach(b, a.Addr); err != nil {
			t.Error(err)
		}
		if reach(b, old) == nil {
			t.Error("reached an address that the host gave up")
		}
	})
}
