package providertest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
	"crabbox/internal/sshbox"
)

// Mem is a provider whose boxes live in this process: each is a real SSH server
// behind a Unix socket in a temporary folder, and runs commands as the test's
// own user. It keeps every promise of provider.Provider and can be told to
// break them, one call at a time.
type Mem struct {
	// Can is what it offers; change it before first use. Without HostKey the
	// boxes make keys of their own and show them to nobody beforehand.
	Can provider.Abilities
	// ViaOpener makes the boxes reachable through Open alone (box.DialOpener).
	ViaOpener bool

	dir string

	mu     sync.Mutex // guards all below
	boxes  map[string]*memBox
	making map[string]chan struct{} // closed when the Create under way ends
	calls  map[Op]int
	before map[Op][]func(context.Context) error
	after  map[Op][]func(context.Context) error
}

var (
	_ provider.Provider = (*Mem)(nil)
	_ provider.Opener   = (*Mem)(nil)
)

// memBox is one box with its server. box and nonce are guarded by Mem.mu.
type memBox struct {
	box    box.Box
	nonce  string
	socket string
	ctx    context.Context // ends with the box: at Destroy, or when its time is over
	end    context.CancelFunc
	served chan struct{} // closed when the server has ended
}

// NewMem returns an empty provider; the end of the test ends its boxes.
func NewMem(t testing.TB) *Mem {
	t.Helper()
	dir, err := os.MkdirTemp("", "cbxmem")
	if err != nil {
		t.Fatal(err)
	}
	m := &Mem{
		Can:    provider.Abilities{Labels: provider.LabelsNative, TTL: true, HostKey: true, Owned: true},
		dir:    dir,
		boxes:  map[string]*memBox{},
		making: map[string]chan struct{}{},
		calls:  map[Op]int{},
		before: map[Op][]func(context.Context) error{},
		after:  map[Op][]func(context.Context) error{},
	}
	t.Cleanup(func() {
		for _, id := range m.IDs() {
			m.Vanish(id)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("in-memory provider: %v", err)
		}
	})
	return m
}

// Descriptor describes the provider under the name "mem"; New returns m itself.
func (m *Mem) Descriptor() provider.Descriptor {
	return provider.Descriptor{
		Name:    "mem",
		Summary: "boxes in this process, for tests",
		Can:     m.Can,
		Options: []provider.Option{
			{Name: "color", Help: "an option that changes nothing", Default: "red", Values: []string{"red", "blue"}},
			{Name: "token", Help: "a secret that changes nothing", Secret: true},
		},
		New:   func(provider.Settings) (provider.Provider, error) { return m, nil },
		Ready: func(context.Context, provider.Settings) (string, error) { return "", nil },
	}
}

// IDs returns the provider ids of the boxes that exist, sorted.
func (m *Mem) IDs() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweepLocked()
	return slices.Sorted(maps.Keys(m.boxes))
}

// Vanish ends a box behind everybody's back, as when a person deletes it in the
// vendor's console. Unknown ids are no error.
func (m *Mem) Vanish(id string) {
	m.mu.Lock()
	b := m.boxes[id]
	delete(m.boxes, id)
	m.mu.Unlock()
	if b != nil {
		b.end()
		<-b.served
	}
}

// sweepLocked forgets the boxes whose time is over.
func (m *Mem) sweepLocked() {
	maps.DeleteFunc(m.boxes, func(_ string, b *memBox) bool { return b.ctx.Err() != nil })
}

// claim waits until no other Create of id is under way. It returns the box if
// there is one, else the caller has the id until release.
func (m *Mem) claim(ctx context.Context, id string) (b *memBox, release func(), err error) {
	for {
		m.mu.Lock()
		m.sweepLocked()
		if b := m.boxes[id]; b != nil {
			m.mu.Unlock()
			return b, nil, nil
		}
		other := m.making[id]
		if other == nil {
			mine := make(chan struct{})
			m.making[id] = mine
			m.mu.Unlock()
			return nil, func() {
				m.mu.Lock()
				delete(m.making, id)
				m.mu.Unlock()
				close(mine)
			}, nil
		}
		m.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// Create starts the box's SSH server.
func (m *Mem) Create(ctx context.Context, r provider.Request) (box.Box, error) {
	id := "mem-" + strings.TrimPrefix(string(r.Box.ID), "cbx_")
	existing, release, err := m.claim(ctx, id)
	if err != nil {
		return box.Box{}, err
	}
	if existing != nil {
		if existing.nonce != r.Nonce {
			return box.Box{}, fault.New(fault.Conflict, "Warm up a new lease.", "box %s exists and belongs to another attempt", id)
		}
		return m.copyOf(existing), nil
	}
	defer release()
	if err := m.enter(ctx, OpCreate); err != nil {
		return box.Box{}, err
	}
	r.Progress("starting a box in memory")
	b, err := m.start(id, r)
	if err != nil {
		return box.Box{}, err
	}
	m.mu.Lock()
	m.boxes[id] = b
	m.mu.Unlock()
	if err := m.run(ctx, m.after, OpCreate); err != nil {
		if ctx.Err() != nil {
			m.Vanish(id)
		}
		return box.Box{}, err
	}
	return m.copyOf(b), nil
}

func (m *Mem) start(id string, r provider.Request) (*memBox, error) {
	home := filepath.Join(m.dir, id)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	user, _, _, _, err := ssh.ParseAuthorizedKey([]byte(r.PublicKey))
	if err != nil {
		return nil, fault.New(fault.Usage, "", "the lease's public key cannot be read: %w", err)
	}
	host, err := m.hostKey(r.HostPrivateKey)
	if err != nil {
		return nil, err
	}
	b := &memBox{nonce: r.Nonce, socket: home + ".sock", served: make(chan struct{}), box: r.Box}
	b.box.Labels = maps.Clone(r.Box.Labels)
	b.box.Provider, b.box.ProviderID, b.box.State = "mem", id, box.Running
	b.box.Endpoint = box.Endpoint{
		Dialer: box.DialUnix, Socket: b.socket, User: "box",
		Identity: box.Identity{LeaseKey: true}, Can: box.CanAll,
	}
	if m.ViaOpener {
		b.box.Endpoint.Dialer, b.box.Endpoint.Socket = box.DialOpener, ""
	}
	if m.Can.HostKey {
		b.box.Endpoint.HostKey.Keys = []string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(host.PublicKey())))}
	}
	listener, err := net.Listen("unix", b.socket)
	if err != nil {
		return nil, err
	}
	if r.Box.Expires.IsZero() || !m.Can.TTL {
		b.ctx, b.end = context.WithCancel(context.Background())
	} else {
		b.ctx, b.end = context.WithDeadline(context.Background(), r.Box.Expires)
	}
	server := &sshbox.Server{HostKey: host, Authorized: []ssh.PublicKey{user}, Home: home}
	go func() {
		defer close(b.served)
		defer os.RemoveAll(home)
		defer listener.Close()
		server.Serve(b.ctx, listener) // its end is the box's end, however it comes
	}()
	return b, nil
}

// hostKey reads the key that the request brings, or draws one.
func (m *Mem) hostKey(pem string) (ssh.Signer, error) {
	if m.Can.HostKey && pem != "" {
		return ssh.ParsePrivateKey([]byte(pem))
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(key)
}

func (m *Mem) copyOf(b *memBox) box.Box {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := b.box
	c.Expose = slices.Clone(c.Expose)
	c.Labels = maps.Clone(c.Labels)
	c.Endpoint.HostKey.Keys = slices.Clone(c.Endpoint.HostKey.Keys)
	return c
}

func (m *Mem) find(id string) (*memBox, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweepLocked()
	if b := m.boxes[id]; b != nil {
		return b, nil
	}
	return nil, fault.New(fault.NotFound, "", "there is no box %s", id)
}

// Get returns the box.
func (m *Mem) Get(ctx context.Context, id string) (box.Box, error) {
	if err := m.enter(ctx, OpGet); err != nil {
		return box.Box{}, err
	}
	b, err := m.find(id)
	if err != nil {
		return box.Box{}, err
	}
	return m.copyOf(b), m.run(ctx, m.after, OpGet)
}

// List returns the boxes whose labels match.
func (m *Mem) List(ctx context.Context, match box.Labels) ([]box.Box, error) {
	if err := m.enter(ctx, OpList); err != nil {
		return nil, err
	}
	var boxes []box.Box
	for _, id := range m.IDs() {
		b, err := m.find(id)
		if err != nil {
			continue // gone meanwhile
		}
		if c := m.copyOf(b); c.AllLabels(b.nonce).Match(match) {
			boxes = append(boxes, c)
		}
	}
	return boxes, m.run(ctx, m.after, OpList)
}

// SetLabels replaces the labels, and with them what they stand for.
func (m *Mem) SetLabels(ctx context.Context, id string, l box.Labels) error {
	if err := m.enter(ctx, OpSetLabels); err != nil {
		return err
	}
	b, err := m.find(id)
	if err != nil {
		return err
	}
	m.mu.Lock()
	fresh, err := relabelled(b.box, b.nonce, l)
	if err == nil {
		b.box = fresh
	}
	m.mu.Unlock()
	return errors.Join(err, m.run(ctx, m.after, OpSetLabels))
}

// Destroy ends the box.
func (m *Mem) Destroy(ctx context.Context, id, nonce string) error {
	if err := m.enter(ctx, OpDestroy); err != nil {
		return err
	}
	if b, err := m.find(id); err == nil {
		if b.nonce != nonce {
			return fault.New(fault.NotOurs, "", "box %s was made by another attempt", id)
		}
		m.Vanish(id)
	}
	return m.run(ctx, m.after, OpDestroy)
}

// Open connects to the box's SSH server.
func (m *Mem) Open(ctx context.Context, b box.Box) (net.Conn, error) {
	if err := m.enter(ctx, OpOpen); err != nil {
		return nil, err
	}
	found, err := m.find(b.ProviderID)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", found.socket)
	if err != nil {
		return nil, fmt.Errorf("box %s: %w", b.ProviderID, err)
	}
	return c, nil
}
