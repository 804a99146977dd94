package mesh

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"crabbox/internal/mesh/meshtest"
)

// After a sleep a dead path is found out sooner, and a link that waits does not
// wait any longer. (Both clocks are the same under fake time, so the watch over
// them is passed by; TestBackOff and others run it for hours without an alarm.)
func TestWakeFromSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := meshtest.New(t)
		m := New(Options{})
		l := newLink(m, "web")
		l.update(Peer{ID: "web", Dial: box.Dial, Forwards: []Forward{{Target: "127.0.0.1:1", Listen: []netip.AddrPort{}}}})
		m.start(l)
		synctest.Wait()
		if s := l.status(); s.State != Up {
			t.Fatalf("%+v", s)
		}
		time.Sleep(time.Second)
		box.Freeze()
		woke := time.Now()
		l.wakeUp(awake)
		for l.status().State == Up {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(woke); took > wakeDeadline+time.Second {
			t.Errorf("a path that died in sleep was noticed after %v", took)
		}

		box.Thaw()
		box.Refuse(true)
		time.Sleep(2 * time.Minute)
		if s := l.status(); s.State != Waiting {
			t.Fatalf("%+v", s)
		}
		box.Refuse(false)
		l.wakeUp(awake)
		synctest.Wait()
		if s := l.status(); s.State != Up {
			t.Errorf("after waking: %+v", s)
		}
		m.cancel()
		m.wg.Wait()
	})
}
