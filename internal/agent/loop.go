package agent

import (
	"context"
	"time"

	"crabbox/internal/store"
)

const (
	// pollEvery is how often leases are looked at for changes that nobody told
	// us of, and the home for being there.
	pollEvery = 500 * time.Millisecond
	// settleTime is between two looks at the mesh: changes often come together.
	settleTime = 20 * time.Millisecond
	// againTime is when something that could not be written is tried again.
	againTime = 5 * time.Second
	// lostPolls is how many polls in a row must miss the home.
	lostPolls = 2
)

// loop is the one goroutine that turns claims and leases into peers, names and
// files. All its fields are its own. It is the only one that waits for the
// disk, so requests never do; for the network it never waits at all.
type loop struct {
	*agent
	lock *lock

	saved  map[string]store.Wanted // as it is on disk
	leases []store.Lease           // as last read
	seats  map[seatKey]*seat
	links  map[string]*link // by lease
	files  files

	stamp string    // of the leases at the last pass
	next  time.Time // when the next lease is over; zero: none
	again time.Time // when to try once more what failed; zero: nothing did
}

// run is the loop's life. It returns nil when ctx ended, nobody needs the agent
// any more, or its home is gone.
func (l *loop) run(ctx context.Context) error {
	l.seats = map[seatKey]*seat{}
	l.links = map[string]*link{}
	l.files = files{store: l.store, written: map[string]map[string]string{}}

	changed := l.mesh.Changed()
	l.pass(ctx)
	close(l.settled)
	var settled <-chan time.Time
	var shown time.Time
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	missed := 0
	for {
		select {
		case <-ctx.Done():
			l.files.removeAll()
			return nil
		case <-l.kick:
			l.pass(ctx)
		case <-changed:
			changed, settled = nil, time.After(settleTime-time.Since(shown))
		case <-settled:
			shown = time.Now()
			changed, settled = l.mesh.Changed(), nil // first, so that no change falls between
			l.show(ctx, l.current())
			l.publish(nil)
		case <-tick.C:
			if l.lock.held() {
				missed = 0
			} else if missed++; missed == lostPolls {
				l.log.Warn("the state folder is gone")
				return nil
			}
			if missed > 0 {
				continue // write nothing where a home may have been
			}
			if l.endIfIdle() {
				l.log.Info("nothing to do")
				return nil
			}
			if l.due() {
				l.pass(ctx)
			}
		}
	}
}

func (l *loop) current() *plan {
	p, _ := l.look()
	return p
}

// due tells whether something may have changed that nobody told us of.
func (l *loop) due() bool {
	now := time.Now()
	switch {
	case !l.again.IsZero() && now.After(l.again):
		return true
	case len(l.current().crews) == 0:
		return false
	case !l.next.IsZero() && now.After(l.next):
		return true
	}
	return l.store.LeasesStamp() != l.stamp
}

// pass looks at everything: what is wanted and what there is, and makes the
// mesh, the names and the files so.
func (l *loop) pass(ctx context.Context) {
	if !l.lock.held() {
		return // write nothing where the home was; run ends soon
	}
	l.again = time.Time{}
	l.mu.Lock()
	asked := l.asked
	l.mu.Unlock()
	claims := l.copyClaims()

	l.stamp = l.store.LeasesStamp() // before reading: a change in between is seen again
	leases, broken, err := l.store.Leases()
	for _, b := range broken {
		l.log.Warn("a lease cannot be read", "path", b.Path, "aside", b.Aside, "reason", b.Reason)
	}
	problem := ""
	if err != nil {
		problem = "leases cannot be read: " + err.Error()
		l.later("leases", err)
	} else {
		l.leases = leases
	}
	if err == nil && len(broken) == 0 {
		claims = l.existing(claims)
	}
	p := l.lay(ctx, claims)
	p.pass = asked
	for _, c := range p.crews {
		if problem != "" {
			c.problem("%s", problem)
		}
	}
	l.remember(p)
	if err := l.mesh.Apply(p.peers()); err != nil {
		l.later("mesh", err)
		for _, c := range p.crews {
			c.problem("its members could not be linked: %v", err)
		}
	}
	l.show(ctx, p)
	l.publish(p)
}

// later has the next pass come soon, since something did not work.
func (l *loop) later(what string, err error) {
	l.log.Warn("will be tried again", "what", what, "reason", err)
	l.again = time.Now().Add(againTime)
}

func (l *loop) copyClaims() []claim {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]claim, 0, len(l.claims))
	for _, c := range l.claims {
		all = append(all, c.copy())
	}
	return all
}

// existing leaves out, and forsakes, detached crews that have no lease any more.
func (l *loop) existing(claims []claim) []claim {
	alive := map[string]bool{}
	for _, lease := range l.leases {
		alive[lease.Box.Crew] = true
	}
	var kept []claim
	for _, c := range claims {
		if !alive[c.crew] && l.forsake(c.crew) {
			l.log.Info("crew ended with its last lease", "crew", c.crew)
			continue
		}
		kept = append(kept, c)
	}
	return kept
}

// remember makes the store hold exactly the crews that are wanted for good.
func (l *loop) remember(p *plan) {
	wanted := map[string]bool{}
	for _, c := range p.crews {
		if c.claim.detached == nil {
			continue
		}
		wanted[c.claim.crew] = true
		if l.saved[c.claim.crew] == *c.claim.detached {
			continue
		}
		if err := l.store.SetWanted(*c.claim.detached); err != nil {
			c.problem("a restart would not connect it again: %v", err)
			l.later("wanted crew", err)
			continue
		}
		l.saved[c.claim.crew] = *c.claim.detached
	}
	for crew := range l.saved {
		if wanted[crew] {
			continue
		}
		if err := l.store.DropWanted(crew); err != nil {
			l.later("crew that is not wanted any more", err)
			continue
		}
		delete(l.saved, crew)
	}
}

// show does what depends on the state of the mesh: it remembers ports that were
// drawn and writes the crews' files.
func (l *loop) show(ctx context.Context, p *plan) {
	if !l.lock.held() {
		return
	}
	status := l.mesh.Snapshot()
	l.rememberPorts(ctx, p, status)
	l.learnHostKeys(p, status)
	for _, c := range p.crews {
		if err := l.files.write(c, view(c, status), l.executable); err != nil {
			c.setFileProblem("its files could not be written: " + err.Error())
			l.later("crew files", err)
		} else {
			c.setFileProblem("")
		}
	}
	l.files.keepOnly(p)
}
