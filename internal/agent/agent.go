// Package agent is the one background process of a user that holds all links.
// It turns the crews that are wanted into the mesh's peers: it looks up the
// members, gives them addresses and names, writes the crew's files, and serves
// package api on its socket.
//
// It holds a file lock for its life, so there is one of it. What is wanted for
// good stands in the store, so a new agent puts everything back after kill -9.
package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"crabbox/internal/agent/api"
	"crabbox/internal/crew"
	"crabbox/internal/fault"
	"crabbox/internal/mesh"
	"crabbox/internal/store"
)

// DefaultIdleStop is how long an agent stays with nothing to do when
// Options.IdleStop is not set.
const DefaultIdleStop = 10 * time.Minute

// Options are what an agent runs with.
type Options struct {
	Keeper  *crew.Keeper
	Version string
	// IdleStop is how long the agent stays with nothing connected.
	IdleStop time.Duration
	// Log is nil for the agent's own, agent.log; see OpenLog.
	Log *slog.Logger
	// Executable is the crabbox that a crew's ssh_config calls; "" for this one.
	Executable string
}

// agent is one life of it. Its goroutines are the mesh's, the server's (one for
// each request) and the loop, which alone does what touches the disk.
type agent struct {
	keeper     *crew.Keeper
	store      *store.Store
	mesh       *mesh.Mesh
	log        *slog.Logger
	version    string
	executable string
	idleStop   time.Duration
	started    time.Time
	stop       context.CancelFunc // ends the agent in an orderly way

	kick     chan struct{}  // capacity 1: the loop shall look at everything
	settled  chan struct{}  // closed after the loop's first pass; nothing is answered before
	requests sync.WaitGroup // grows only under mu while !ending

	mu      sync.Mutex // guards the fields below; held for moments, never across disk or network
	claims  map[string]*claim
	asked   uint64        // passes of the loop asked for
	plan    *plan         // what the last pass made of the claims; never changed, only replaced
	changed chan struct{} // closed when there is something new to see, then replaced
	open    int           // requests being served
	idle    time.Time     // since when there was no request and no claim
	ending  bool          // no request is served any more
}

// Run is the agent's whole life: it returns nil when it was stopped, idle or
// ctx ended, and a fault of kind Conflict when another agent runs already.
func Run(ctx context.Context, o Options) error {
	home := o.Keeper.Store
	log := o.Log
	if log == nil {
		own, file, err := OpenLog(home)
		if err != nil {
			return err
		}
		defer file.Close()
		log = own
	}
	executable := o.Executable
	if executable == "" {
		var err error
		if executable, err = os.Executable(); err != nil {
			return fault.New(fault.Failed, "", "find this program's own file: %w", err)
		}
	}
	lock, err := acquire(ctx, home)
	if err != nil {
		return err
	}
	defer lock.release()
	socket := home.Path(api.SocketFile)
	listener, err := listen(socket)
	if err != nil {
		return err
	}
	defer func() {
		if lock.held() {
			os.Remove(socket)
		}
	}()

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	a := &agent{
		keeper: o.Keeper, store: home, mesh: mesh.New(mesh.Options{Log: log}), log: log,
		version: o.Version, executable: executable, idleStop: cmp.Or(o.IdleStop, DefaultIdleStop),
		started: time.Now(), stop: stop,
		kick:    make(chan struct{}, 1),
		settled: make(chan struct{}),
		claims:  map[string]*claim{},
		plan:    &plan{},
		changed: make(chan struct{}),
		idle:    time.Now(),
	}
	log.Info("agent started", "version", o.Version, "pid", os.Getpid())
	saved := a.restore()
	err = a.live(ctx, &loop{agent: a, lock: lock, saved: saved}, server{agent: a, listener: listener})
	if err != nil {
		log.Error("agent failed", "reason", err)
	}
	log.Info("agent ended")
	return err
}

// live runs the agent's parts until one of them ends, then ends the others one
// after the other and waits for them: requests before the crews' files, and
// these before the links, so that nobody is shown what does not hold any more.
func (a *agent) live(ctx context.Context, l *loop, s server) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var errs []error
	parts := []func(context.Context) error{s.run, l.run, a.mesh.Run}
	ended := make([]chan error, len(parts))
	stops := make([]context.CancelFunc, len(parts))
	for i, run := range parts {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		stops[i], ended[i] = cancel, make(chan error, 1)
		go func() {
			defer stop()
			ended[i] <- run(own)
		}()
	}
	<-ctx.Done()
	for i := range parts {
		stops[i]()
		if err := <-ended[i]; !errors.Is(err, context.Canceled) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// begin counts a request in; false when the agent is ending. Since ending is
// decided under the same lock, no request is ever served by half.
func (a *agent) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ending {
		return false
	}
	a.open++
	a.requests.Add(1)
	return true
}

func (a *agent) end() {
	defer a.requests.Done()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open--
	a.idle = time.Now()
}

// close lets no request begin any more.
func (a *agent) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ending = true
}

// endIfIdle decides that the agent ends when nobody has needed it for long.
func (a *agent) endIfIdle() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case len(a.claims) > 0:
		a.idle = time.Now()
	case a.open == 0 && time.Since(a.idle) >= a.idleStop:
		a.ending = true
	}
	return a.ending
}

// pass asks the loop to look at everything and waits until it has.
func (a *agent) pass(ctx context.Context) error {
	a.mu.Lock()
	a.asked++
	mine := a.asked
	a.mu.Unlock()
	select {
	case a.kick <- struct{}{}:
	default: // it will look anyway
	}
	for {
		p, changed := a.look()
		if p.pass >= mine {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look returns the plan and a channel that is closed when there is news.
func (a *agent) look() (*plan, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.plan, a.changed
}

// publish lets everybody who waits look again; p is nil when the plan stands.
func (a *agent) publish(p *plan) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p != nil {
		a.plan = p
	}
	close(a.changed)
	a.changed = make(chan struct{})
}
