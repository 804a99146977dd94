package meshtest

import (
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// wireCapacity is how much a wire holds before its writer waits, about what a
// kernel's socket buffers do.
const wireCapacity = 256 << 10

// wire is one direction of a connection in memory: a queue of bytes that can be
// slow, frozen, or reset. It uses channels and timers only, so it keeps the
// fake time of testing/synctest.
//
//	open --hang up-----> ending (what is queued still arrives) --read to the end--> EOF
//	open --stop reading--> deaf (writes fail, unless frozen: nobody knows yet)
//	any  --reset-------> broken (both sides fail, what is queued is lost)
//
// mu guards all fields. changed is closed and replaced at every change, for the
// readers and writers that wait.
type wire struct {
	mu      sync.Mutex
	changed chan struct{}
	queue   []parcel
	queued  int // bytes in queue
	latency time.Duration
	frozen  bool
	ending  bool
	deaf    bool
	broken  bool
	readBy  time.Time // deadlines; zero for none
	writeBy time.Time
}

// parcel is what one write put into the wire; without data, the end of it.
type parcel struct {
	data []byte
	due  time.Time
}

func newWire(latency time.Duration) *wire {
	return &wire{changed: make(chan struct{}), latency: latency}
}

// change applies f and wakes all who wait.
func (w *wire) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	w.wakeLocked()
}

func (w *wire) wakeLocked() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// hangUp is the writer's end: what is queued still arrives.
func (w *wire) hangUp() {
	w.change(func() {
		if !w.ending {
			w.ending = true
			w.queue = append(w.queue, parcel{due: time.Now().Add(w.latency)})
		}
	})
}

// stopReading is the reader's end.
func (w *wire) stopReading() { w.change(func() { w.deaf = true }) }

func (w *wire) reset() {
	w.change(func() {
		w.broken = true
		w.queue, w.queued = nil, 0
	})
}

func (w *wire) setFrozen(yes bool)           { w.change(func() { w.frozen = yes }) }
func (w *wire) setLatency(d time.Duration)   { w.change(func() { w.latency = d }) }
func (w *wire) setReadDeadline(t time.Time)  { w.change(func() { w.readBy = t }) }
func (w *wire) setWriteDeadline(t time.Time) { w.change(func() { w.writeBy = t }) }
func (w *wire) read(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		now := time.Now()
		switch {
		case w.deaf:
			return 0, os.ErrClosed
		case w.broken:
			return 0, syscall.ECONNRESET
		case over(w.readBy, now):
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		}
		until := w.readBy
		if len(w.queue) > 0 && !w.frozen {
			head := &w.queue[0]
			if !head.due.After(now) {
				return w.takeLocked(p)
			}
			until = earlier(until, head.due)
		}
		w.waitLocked(until)
	}
}

// takeLocked reads what has arrived: part of one parcel, or the end.
func (w *wire) takeLocked(p []byte) (n int, err error) {
	head := &w.queue[0]
	if len(head.data) == 0 {
		return 0, io.EOF // and stays there
	}
	n = copy(p, head.data)
	if head.data = head.data[n:]; len(head.data) == 0 {
		w.queue = w.queue[1:]
	}
	w.queued -= n
	w.wakeLocked()
	return n, nil
}

func (w *wire) write(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		now := time.Now()
		switch {
		case w.ending:
			return n, os.ErrClosed
		case w.broken, w.deaf && !w.frozen:
			return n, syscall.ECONNRESET
		case over(w.writeBy, now):
			return n, os.ErrDeadlineExceeded
		}
		if room := min(wireCapacity-w.queued, len(p)); room > 0 {
			w.queue = append(w.queue, parcel{append([]byte(nil), p[:room]...), now.Add(w.latency)})
			w.queued += room
			n, p = n+room, p[room:]
			w.wakeLocked()
		}
		if len(p) == 0 {
			return n, nil
		}
		w.waitLocked(w.writeBy)
	}
}

// waitLocked waits for a change, or until t unless that is zero.
func (w *wire) waitLocked(t time.Time) {
	changed := w.changed
	w.mu.Unlock()
	defer w.mu.Lock()
	if t.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

func over(deadline, now time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }

// earlier is the earlier of two times, of which a may be zero for never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
