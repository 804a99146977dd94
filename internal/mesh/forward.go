package mesh

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// forward is one local listener whose connections end at a target on the box.
type forward struct {
	link   *link
	target string
	listen []netip.AddrPort

	ctx    context.Context // ends with the forward
	cancel context.CancelFunc

	mu       sync.Mutex // guards the fields below; taken after link.mu when both are
	listener net.Listener
	local    netip.AddrPort
	fallback bool
	state    ForwardState
	since    time.Time
	bindErr  error // why listen[0], or any of them, could not be had
	err      error // why the target cannot be used
	proven   time.Time
	closed   bool

	open, held     atomic.Int64
	total, refused atomic.Uint64
	strangers      atomic.Uint64
	in, out        atomic.Uint64
}

func newForward(l *link, w Forward) *forward {
	f := &forward{link: l, target: w.Target, listen: w.Listen, state: Down, since: time.Now()}
	if l.state == Up {
		f.state = Unproven
	}
	f.ctx, f.cancel = context.WithCancel(l.ctx)
	return f
}

// bind takes the first local address that can be had and keeps it. It does
// nothing when one is held already.
func (f *forward) bind() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listener != nil || f.closed {
		return
	}
	var errs []error
	for i, address := range f.listen {
		listener, err := f.link.mesh.listen(address)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f.listener, f.fallback = listener, i > 0
		f.local = address
		if a, ok := listener.Addr().(*net.TCPAddr); ok {
			f.local = a.AddrPort()
		}
		f.bindErr = errors.Join(errs...)
		f.link.mesh.wg.Go(func() { f.accept(listener) })
		return
	}
	f.bindErr = errors.Join(errs...)
	if f.bindErr == nil {
		f.bindErr = errors.New("no local address was asked for")
	}
}

// close gives the address back and resets the callers.
func (f *forward) close() {
	f.mu.Lock()
	f.closed = true
	if f.listener != nil {
		f.listener.Close()
	}
	f.mu.Unlock()
	f.cancel()
}

// accept takes callers until the listener is closed. Running out of file
// descriptors is waited out.
func (f *forward) accept(listener net.Listener) {
	delay := time.Millisecond
	for {
		c, err := listener.Accept()
		if err == nil {
			delay = time.Millisecond
			f.total.Add(1)
			f.link.mesh.wg.Go(func() { f.serve(c) })
			continue
		}
		if errors.Is(err, net.ErrClosed) || f.ctx.Err() != nil {
			return
		}
		f.link.mesh.log.Warn("accept", "peer", f.link.id, "target", f.target, "reason", err)
		select {
		case <-time.After(delay):
			delay = min(2*delay, time.Second)
		case <-f.ctx.Done():
			return
		}
	}
}

// serve carries one caller's connection. A caller that comes during an outage
// is held for holdTime; one that cannot be served is reset, so that it sees at
// once that nothing was delivered.
func (f *forward) serve(c net.Conn) {
	f.open.Add(1)
	defer f.open.Add(-1)
	if !f.link.shared() && f.link.mesh.callers.stranger(c) {
		reset(c)
		if n := f.strangers.Add(1); n&(n-1) == 0 { // not a line for each: the log is not theirs to fill
			f.link.mesh.log.Warn("another user of this machine was turned away", "peer", f.link.id, "target", f.target, "times", n)
		}
		return
	}
	s, ch, reqs, err := f.reach()
	if err != nil {
		f.refused.Add(1)
		reset(c)
		f.link.mesh.log.Debug("caller turned away", "peer", f.link.id, "target", f.target, "reason", err)
		return
	}
	(&splice{local: c, remote: ch, requests: reqs, session: s, forward: f}).run()
}

// reach opens a channel to the target, over the next session when one is lost
// before the box has answered.
func (f *forward) reach() (*session, ssh.Channel, <-chan *ssh.Request, error) {
	hold, cancel := context.WithTimeout(f.ctx, holdTime)
	defer cancel()
	for {
		s, _ := f.link.now()
		if s == nil {
			var err error
			f.held.Add(1)
			s, err = f.link.await(hold)
			f.held.Add(-1)
			if err != nil {
				return nil, nil, nil, err
			}
		}
		ch, reqs, err := s.open(hold, f.target)
		f.learn(s, err)
		if !errors.Is(err, errLost) {
			return s, ch, reqs, err
		}
		// Wait until the link does not hand out this session any more.
		select {
		case <-s.ctx.Done():
		case <-hold.Done():
			return nil, nil, nil, errHeldTooLong
		}
	}
}

// learn makes the outcome of a channel open the forward's state.
func (f *forward) learn(s *session, err error) {
	state := Usable
	if err != nil {
		state = NoTarget
		var no *ssh.OpenChannelError
		switch {
		case errors.As(err, &no):
			if no.Reason == ssh.Prohibited {
				state = Prohibited
			}
		case errors.Is(err, context.DeadlineExceeded):
			err = errNoAnswer
		default:
			return // the session or the caller ended: nothing was learnt
		}
	}
	f.mu.Lock()
	if s.stream.failed() {
		f.mu.Unlock()
		return
	}
	changed := f.state != state
	if changed {
		f.state, f.since = state, time.Now()
	}
	if state == Usable {
		f.proven = time.Now()
	}
	f.err = err
	f.mu.Unlock()
	if changed {
		f.link.mesh.notify()
	}
}

var errNoAnswer = errors.New("the box did not answer for this port in time")

// unprove is called with every change of the link's state.
func (f *forward) unprove(state ForwardState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != state {
		f.state, f.since, f.err = state, time.Now(), nil
	}
}

func (f *forward) status() ForwardStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := ForwardStatus{
		Target: f.target, Local: f.local, Fallback: f.fallback,
		State: f.state, Since: f.since, Proven: f.proven,
		Open: f.open.Load(), Held: f.held.Load(),
		Total: f.total.Load(), Refused: f.refused.Load(), Strangers: f.strangers.Load(),
		In: f.in.Load(), Out: f.out.Load(),
	}
	reason := f.err
	if f.listener == nil {
		s.State = Unbound
	}
	if reason == nil || f.listener == nil {
		reason = f.bindErr
	}
	if reason != nil {
		s.Reason = strings.ReplaceAll(reason.Error(), "\n", "; ")
	}
	return s
}

// reset ends a caller's connection so that it sees an error, not an end of file.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}
