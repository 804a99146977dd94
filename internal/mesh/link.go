package mesh

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// link is the one SSH connection to a peer, with the peer's forwards. Its
// goroutine (run) owns the state:
//
//	             dialled and logged in
//	┌► Connecting ─────────────────────► Up
//	│    │  │  ▲                         │
//	│    │  │  └──────── lost ───────────┘ (at once if it was stable)
//	│    │  └─ failed ──► Waiting ─┐
//	│    │                         │ back-off over, a caller knocks,
//	├────│─────────────────────────┘ wake from sleep, Retry, new Revision
//	│    ├─ host key or login refused ──► Refused ─┐
//	│    └─ the peer is no more ────────► Gone ────┤
//	└────────────────── Retry, new Revision ───────┘
type link struct {
	mesh *Mesh
	id   string

	ctx    context.Context // ends with the link
	cancel context.CancelFunc
	wake   chan wakeReason // capacity 1; see wakeUp

	mu       sync.Mutex // guards the fields below; never held across the network
	peer     Peer
	forwards map[string]*forward // by target
	state    LinkState
	since    time.Time
	err      error // why the state is not Up
	nextTry  time.Time
	session  *session      // non-nil exactly in state Up
	turn     chan struct{} // closed at every change of state, then replaced
	wasUp    bool
	heals    uint64
	attempts uint64
	held     int // callers in await
}

// wakeReason says why a link shall act now. A stronger one replaces a weaker
// one that was not seen yet.
type wakeReason int

const (
	knock  wakeReason = iota // a caller waits: end the back-off
	awake                    // the machine slept: end the back-off, prove the path
	retry                    // somebody asks: also leave Refused and Gone
	revise                   // the peer is another: also drop the connection
)

func newLink(m *Mesh, id string) *link {
	l := &link{
		mesh:     m,
		id:       id,
		wake:     make(chan wakeReason, 1),
		forwards: map[string]*forward{},
		state:    Connecting,
		since:    time.Now(),
		turn:     make(chan struct{}),
	}
	l.ctx, l.cancel = context.WithCancel(m.ctx)
	return l
}

// trim closes the forwards that p does not want any more, or wants elsewhere.
func (l *link) trim(p Peer) {
	l.mu.Lock()
	var gone []*forward
	for target, f := range l.forwards {
		i := slices.IndexFunc(p.Forwards, func(w Forward) bool { return w.Target == target })
		if i < 0 || !slices.Equal(p.Forwards[i].Listen, f.listen) {
			gone = append(gone, f)
			delete(l.forwards, target)
		}
	}
	l.mu.Unlock()
	for _, f := range gone {
		f.close()
	}
}

// update takes over what is wanted of the peer now, after trim.
func (l *link) update(p Peer) {
	l.mu.Lock()
	revised := l.peer.ID != "" && l.peer.Revision != p.Revision
	l.peer = p
	added := false
	for _, w := range p.Forwards {
		if l.forwards[w.Target] == nil {
			l.forwards[w.Target] = newForward(l, w)
			added = true
		}
	}
	forwards := l.forwardsLocked()
	s := l.session
	l.mu.Unlock()

	for _, f := range forwards {
		f.bind()
	}
	if added && s != nil {
		s.probeSoon()
	}
	if revised {
		l.wakeUp(revise)
	}
}

// forwardsLocked returns the forwards in the order of their targets.
func (l *link) forwardsLocked() []*forward {
	all := make([]*forward, 0, len(l.forwards))
	for _, f := range l.forwards {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *forward) int { return strings.Compare(a.target, b.target) })
	return all
}

// close takes the listeners away and ends the link without waiting for it.
func (l *link) close() {
	l.trim(Peer{})
	l.cancel()
}

// wakeUp makes the link's goroutine act. It never blocks.
func (l *link) wakeUp(why wakeReason) {
	for {
		select {
		case l.wake <- why:
			return
		default:
		}
		select {
		case earlier := <-l.wake:
			why = max(why, earlier)
		default:
		}
	}
}

// run is the link's goroutine, from start to end.
func (l *link) run() {
	var delays backoff
	for {
		l.enterConnecting()
		s, err := l.connect()
		if err == nil {
			l.enterUp(s)
			err = s.serve(l.wake)
			l.leaveUp(err)
			s.end()
			if s.age() >= stableTime {
				delays.reset()
			}
		}
		switch {
		case l.ctx.Err() != nil:
			return
		case errors.Is(err, errRevised):
			delays.reset()
		case s != nil && delays.failures == 0:
			// Losing a connection is not yet a failure to connect: the
			// first attempt comes at once, the next ones wait.
			delays.failures = 1
		case !l.pause(err, &delays):
			return
		}
	}
}

// pause waits until it is time to try again; false when the link ends.
func (l *link) pause(err error, delays *backoff) bool {
	state, final := Waiting, true
	switch {
	case errors.Is(err, ErrGone):
		state = Gone
	case errors.Is(err, ErrRefused):
		state = Refused
	default:
		final = false
	}
	var timer <-chan time.Time
	var nextTry time.Time
	impatient := l.callers() > 0
	if !final {
		delay := delays.next()
		if impatient {
			delay = min(delay, backoffHeld)
		}
		t := time.NewTimer(delay)
		defer t.Stop()
		timer, nextTry = t.C, time.Now().Add(delay)
	}
	l.enter(state, err, nextTry)
	for {
		select {
		case <-l.ctx.Done():
			return false
		case <-timer:
			return true
		case why := <-l.wake:
			switch {
			case why >= retry:
				delays.reset()
				return true
			case final:
			case why == awake:
				delays.reset()
				return true
			case !impatient: // the first caller ends a long wait; the wait after that is short
				return true
			}
		}
	}
}

// shared tells whether other users of this machine may call.
func (l *link) shared() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peer.ShareLocal
}

func (l *link) callers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// enterConnecting begins an attempt; why the link is not up stays what it was.
func (l *link) enterConnecting() {
	l.mu.Lock()
	l.attempts++
	err := l.err
	l.mu.Unlock()
	l.enter(Connecting, err, time.Time{})
}

// enter changes the state to one without a connection.
func (l *link) enter(s LinkState, err error, nextTry time.Time) {
	l.mu.Lock()
	if l.state != s {
		l.state, l.since = s, time.Now()
	}
	l.err, l.nextTry = err, nextTry
	l.turnLocked()
	l.mu.Unlock()
	if s != Connecting {
		l.mesh.log.Info("link", "peer", l.id, "state", s, "reason", err, "next_try", nextTry)
	}
	l.mesh.notify()
}

func (l *link) enterUp(s *session) {
	l.mu.Lock()
	l.state, l.since, l.err = Up, time.Now(), nil
	l.session = s
	if l.wasUp {
		l.heals++
	}
	l.wasUp = true
	attempts := l.attempts
	l.attempts = 0
	for _, f := range l.forwards {
		f.unprove(Unproven)
	}
	l.turnLocked()
	l.mu.Unlock()
	l.mesh.log.Info("link", "peer", l.id, "state", Up, "attempts", attempts)
	l.mesh.notify()
}

func (l *link) leaveUp(why error) {
	l.mu.Lock()
	l.session = nil
	l.state, l.since, l.err = Connecting, time.Now(), why
	for _, f := range l.forwards {
		f.unprove(Down)
	}
	l.turnLocked()
	l.mu.Unlock()
	l.mesh.log.Info("link", "peer", l.id, "state", "lost", "reason", why)
	l.mesh.notify()
}

// turnLocked tells the held callers that the state changed.
func (l *link) turnLocked() {
	close(l.turn)
	l.turn = make(chan struct{})
}

// now returns the session, nil when the link is not up, and a channel that is
// closed at the next change of state.
func (l *link) now() (*session, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session, l.turn
}

var (
	errHeldTooLong = errors.New("the link did not come up in time")
	errTooMany     = errors.New("too many callers wait for the link already")
)

// await returns the session, waiting for it until hold is over while there is
// hope for one. It fails at once when the link is Refused or Gone.
func (l *link) await(hold context.Context) (*session, error) {
	l.mu.Lock()
	if l.session != nil {
		defer l.mu.Unlock()
		return l.session, nil
	}
	if l.held >= holdMost {
		l.mu.Unlock()
		return nil, errTooMany
	}
	l.held++
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.held--
		l.mu.Unlock()
	}()

	l.wakeUp(knock)
	for {
		l.mu.Lock()
		s, state, turn, err := l.session, l.state, l.turn, l.err
		l.mu.Unlock()
		switch {
		case s != nil:
			return s, nil
		case state == Refused || state == Gone:
			return nil, err
		}
		select {
		case <-turn:
		case <-hold.Done():
			return nil, errHeldTooLong
		case <-l.ctx.Done():
			return nil, ErrClosed
		}
	}
}

func (l *link) status() LinkStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := LinkStatus{
		ID: l.id, State: l.state, Since: l.since, Err: l.err, NextTry: l.nextTry,
		Heals: l.heals, Attempts: l.attempts,
		Forwards: make([]ForwardStatus, 0, len(l.forwards)),
	}
	if l.err != nil {
		s.Reason = l.err.Error()
	}
	if l.session != nil {
		s.RoundTrip = l.session.roundTrip()
	}
	for _, f := range l.forwardsLocked() {
		s.Forwards = append(s.Forwards, f.status())
	}
	return s
}
