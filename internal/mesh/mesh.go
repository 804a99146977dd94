// Package mesh is the engine: it keeps one SSH connection to each peer and
// carries local connections over it to ports on the peer's box.
//
// The caller says what it wants (Apply) and looks at what there is (Snapshot);
// connecting, proving, healing and taking down are the mesh's own work. Local
// listeners stay for as long as a forward is wanted, whatever happens to the
// connection below.
//
// It knows no provider, no crew, no command line and no disk.
package mesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// What Peer.Dial may wrap to end a link's attempts.
var (
	// ErrGone says that the peer does not exist any more.
	ErrGone = errors.New("the box is gone")
	// ErrRefused says that trying again the same way is of no use.
	ErrRefused = errors.New("refused")
)

// ErrClosed is returned by Apply once Run has returned.
var ErrClosed = errors.New("the mesh is closed")

// Options are what a mesh runs with; the zero value will do.
type Options struct {
	Log *slog.Logger // nil: nothing is logged
	// Listen binds a forward's local address; nil listens on TCP.
	Listen func(netip.AddrPort) (net.Listener, error)
}

// Mesh holds the links. All methods may be called from any goroutine.
type Mesh struct {
	log     *slog.Logger
	listen  func(netip.AddrPort) (net.Listener, error)
	gates   gates
	callers callers

	ctx    context.Context // ends all links
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine of the mesh; grows only under mu while !closed

	applying sync.Mutex // one Apply at a time; taken before mu

	mu      sync.Mutex // guards the fields below
	links   map[string]*link
	changed chan struct{} // closed at the next change, then replaced
	closed  bool
}

// New returns a mesh without peers. Run must be called: it is what ends the
// goroutines that Apply starts.
func New(o Options) *Mesh {
	m := &Mesh{
		log:     cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
		listen:  o.Listen,
		links:   map[string]*link{},
		changed: make(chan struct{}),
	}
	if m.listen == nil {
		m.listen = listenTCP
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

func listenTCP(a netip.AddrPort) (net.Listener, error) {
	return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a))
}

// Run watches over the links until ctx ends, then takes everything down and
// returns when every goroutine and listener of the mesh has ended. Call it once.
func (m *Mesh) Run(ctx context.Context) error {
	m.watch(ctx)

	m.applying.Lock()
	defer m.applying.Unlock()
	m.mu.Lock()
	m.closed = true
	links := m.links
	m.links = map[string]*link{}
	m.mu.Unlock()
	for _, l := range links {
		l.close()
	}
	m.cancel()
	m.wg.Wait()
	m.callers.close()
	m.notify()
	return ctx.Err()
}

// Apply makes the mesh hold exactly the wanted peers. Listeners of what is not
// wanted are closed and those of what is new are bound before it returns;
// connections are made afterwards. Applying the same again changes nothing, but
// tries to bind what could not be bound before. An invalid want changes nothing.
func (m *Mesh) Apply(want []Peer) error {
	if err := check(want); err != nil {
		return err
	}
	m.applying.Lock()
	defer m.applying.Unlock()

	wanted := make(map[string]Peer, len(want))
	for _, p := range want {
		wanted[p.ID] = p
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	var gone []*link
	for id, l := range m.links {
		if _, ok := wanted[id]; !ok {
			gone = append(gone, l)
			delete(m.links, id)
		}
	}
	kept := make([]*link, 0, len(m.links))
	for _, l := range m.links {
		kept = append(kept, l)
	}
	m.mu.Unlock()

	for _, l := range gone {
		l.close()
	}
	// First let go of what is not wanted anywhere, then bind: an address may
	// pass from one peer to another.
	for _, l := range kept {
		l.trim(wanted[l.id])
	}
	for _, p := range want {
		m.mu.Lock()
		l, known := m.links[p.ID]
		m.mu.Unlock()
		if !known {
			l = newLink(m, p.ID)
		}
		l.update(p)
		if !known {
			m.start(l)
		}
	}
	m.notify()
	return nil
}

// check refuses peers that could not be told apart or not be dialled.
func check(want []Peer) error {
	seen := map[string]bool{}
	for _, p := range want {
		switch {
		case p.ID == "":
			return errors.New("a peer has no ID")
		case seen[p.ID]:
			return fmt.Errorf("peer %s is wanted twice", p.ID)
		case p.Dial == nil:
			return fmt.Errorf("peer %s cannot be dialled", p.ID)
		}
		seen[p.ID] = true
		targets := map[string]bool{}
		for _, f := range p.Forwards {
			if _, _, err := net.SplitHostPort(f.Target); err != nil {
				return fmt.Errorf("peer %s: %w", p.ID, err)
			}
			if targets[f.Target] {
				return fmt.Errorf("peer %s: target %s is wanted twice", p.ID, f.Target)
			}
			targets[f.Target] = true
		}
	}
	return nil
}

// start lets a link live; called with applying held, so that Run cannot be
// waiting for wg yet.
func (m *Mesh) start(l *link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.links[l.id] = l
	m.wg.Go(l.run)
}

// Snapshot returns the state of everything at this moment.
func (m *Mesh) Snapshot() Snapshot {
	links := m.all()
	s := Snapshot{Links: make([]LinkStatus, 0, len(links))}
	for _, l := range links {
		s.Links = append(s.Links, l.status())
	}
	return s
}

// Changed returns a channel that is closed at the next change of any state.
// Take it before the Snapshot that it shall outdate. Counters alone are no change.
func (m *Mesh) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *Mesh) notify() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.changed)
	m.changed = make(chan struct{})
}

// Retry tries a link that is Waiting, Refused or Gone again at once. It tells
// whether there is such a peer.
func (m *Mesh) Retry(id string) bool {
	l := m.link(id)
	if l != nil {
		l.wakeUp(retry)
	}
	return l != nil
}

// Cut drops the peer's connection as a broken network would, without touching
// its listeners; the link heals. It tells whether there was a connection.
func (m *Mesh) Cut(id string) bool {
	l := m.link(id)
	if l == nil {
		return false
	}
	s, _ := l.now()
	if s == nil {
		return false
	}
	s.drop(errCut)
	return true
}

var errCut = errors.New("cut on request")

// all returns the links in the order of their IDs.
func (m *Mesh) all() []*link {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.links), func(a, b *link) int { return cmp.Compare(a.id, b.id) })
}

func (m *Mesh) link(id string) *link {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.links[id]
}
