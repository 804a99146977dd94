package mesh

import (
	"context"
	"time"
)

// sleepSlack is how far the wall clock may run ahead of the monotonic one, or a
// tick be late, before we say that the machine or this process slept. The
// monotonic clock stands still in a suspended machine, the ticks in a stopped
// process.
const sleepSlack = 3 * time.Second

// watch looks for what no single link sees, until ctx ends: a sleep of the
// machine, and addresses that can be bound now.
func (m *Mesh) watch(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	last := time.Now()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		late := now.Sub(last)
		jump := now.Round(0).Sub(last.Round(0)) - late
		last = now
		if jump > sleepSlack || late > watchInterval+sleepSlack {
			m.log.Info("awake again", "slept_about", (jump + late).Round(time.Second))
			for _, l := range m.all() {
				l.wakeUp(awake)
			}
		}
		if n%rebindEvery == 0 {
			m.rebind()
		}
	}
}

// rebind tries again to bind what could not be bound.
func (m *Mesh) rebind() {
	bound := false
	for _, l := range m.all() {
		l.mu.Lock()
		forwards := l.forwardsLocked()
		l.mu.Unlock()
		for _, f := range forwards {
			if f.status().State == Unbound {
				f.bind()
				bound = bound || f.status().State != Unbound
			}
		}
	}
	if bound {
		m.notify()
	}
}
