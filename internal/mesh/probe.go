package mesh

import "time"

// plan is the prober's memory of one forward.
type plan struct {
	busy  chan struct{} // closed when the probe under way has ended; nil: none is
	next  time.Time
	delay time.Duration // until the next try while the forward is not usable
}

// prober proves the session's forwards: each one at once, a usable one again
// when its proof is probeInterval old, one that is not usable sooner at first.
// A caller's own channel is a proof as well. A target that does not answer
// delays nobody else's probe. It ends with the session.
func (s *session) prober() {
	plans := map[*forward]*plan{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.probe:
		case <-timer.C:
		}
		s.link.mu.Lock()
		forwards := s.link.forwardsLocked()
		s.link.mu.Unlock()

		now := time.Now()
		wait := probeInterval
		kept := make(map[*forward]*plan, len(forwards))
		for _, f := range forwards {
			p := plans[f]
			if p == nil {
				p = &plan{delay: probeSoonest}
			}
			kept[f] = p
			if s.plan(f, p, now) {
				wait = min(wait, p.next.Sub(now))
			}
		}
		plans = kept
		timer.Reset(max(wait, 0))
	}
}

// plan starts f's probe when it is due. It tells whether p.next is to be waited
// for; when not, a probe is under way and its end wakes the prober.
func (s *session) plan(f *forward, p *plan, now time.Time) bool {
	if p.busy != nil {
		select {
		case <-p.busy:
			p.busy = nil
		default:
			return false
		}
	}
	if proven := f.provenIn(s); !proven.IsZero() {
		p.delay = probeSoonest
		p.next = proven.Add(probeInterval)
	}
	if p.next.After(now) {
		return true
	}
	p.next = now.Add(p.delay)
	p.delay = min(2*p.delay, probeLatest)
	busy := make(chan struct{})
	p.busy = busy
	s.spawn(func() {
		defer s.probeSoon()
		defer close(busy)
		ch, reqs, err := s.open(s.ctx, f.target)
		f.learn(s, err)
		if err == nil {
			discard(ch, reqs)
		}
	})
	return false
}

// probeSoon makes the prober look at its forwards now.
func (s *session) probeSoon() {
	select {
	case s.probe <- struct{}{}:
	default:
	}
}

// provenIn returns when the forward was last proven by s; zero when it is not usable.
func (f *forward) provenIn(s *session) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != Usable || f.proven.Before(s.born) {
		return time.Time{}
	}
	return f.proven
}
