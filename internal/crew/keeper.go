// Package crew is the life of boxes: it warms them up, finds them again by
// crew, slug or id, and releases them. Money is spent here and nowhere else.
//
// Before anything is created the lease is on disk, with state "creating", its
// key and its nonce; whatever happens after that leaves a trace that Release
// can finish. It forwards no bytes and prints nothing.
package crew

import (
	"context"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/login"
	"crabbox/internal/provider"
	"crabbox/internal/store"
)

// Keeper does everything that concerns boxes. Build one per process; it may be
// used by several goroutines. The fields must not change after the first call.
type Keeper struct {
	Store     *store.Store
	Providers provider.Registry
	// Settings builds a provider's settings out of config and environment.
	Settings func(provider.Descriptor) (provider.Settings, error)
	Login    *login.Dialer
	// Owner is who leases, as a label; "" asks OwnerName when it is needed.
	Owner string
	Now   func() time.Time // nil: time.Now
	// LoginWait is how long a new box may take until it lets us in; 0 takes
	// two minutes.
	LoginWait time.Duration
	// Warn is told about trouble that does not stop the work, such as a record
	// that was set aside; may be nil.
	Warn func(error)

	// logIn stands in for Login.Connect in tests of this room.
	logIn func(context.Context, login.Target) (*ssh.Client, error)

	mu    sync.Mutex
	built map[string]provider.Provider // guarded by mu; by the provider's name
}

// Problem is a lease or provider that could not be asked, among others that could.
type Problem struct {
	Provider string
	Lease    box.ID // "" when it concerns the whole provider
	Err      error
}

// Target says how to log in to the lease's box, as it was last seen.
func (k *Keeper) Target(l store.Lease) (login.Target, error) {
	if l.Box.State == box.Creating && l.Box.Endpoint.Dialer == "" {
		return login.Target{}, fault.New(fault.Failed, "Try again when its warmup is over; crabbox release "+string(l.Box.ID)+" gives it up.", "%s is still being created", l.Box.Slug)
	}
	t := login.Target{Name: string(l.Box.ID), Title: l.Box.Slug, Endpoint: l.Box.Endpoint, LeaseKey: k.Store.KeyPath(l.Box.ID)}
	if l.Box.Endpoint.Dialer != box.DialOpener {
		return t, nil
	}
	d, p, err := k.provider(l.Box.Provider)
	if err != nil {
		return login.Target{}, err
	}
	opener, ok := p.(provider.Opener)
	if !ok {
		return login.Target{}, fault.New(fault.Unsupported, "", "provider %s opens no streams to its boxes", d.Name)
	}
	b := l.Box
	t.Open = func(ctx context.Context) (net.Conn, error) { return opener.Open(ctx, b) }
	return t, nil
}

// SetExpose replaces the ports that a lease exposes, on the box's labels where
// the provider keeps them and in our record.
func (k *Keeper) SetExpose(ctx context.Context, l store.Lease, ports []box.Port) (store.Lease, error) {
	ports, err := checkPorts(ports)
	if err != nil {
		return store.Lease{}, err
	}
	unlock, err := k.Store.LockLease(ctx, l.Box.ID)
	if err != nil {
		return store.Lease{}, err
	}
	defer unlock()
	if l, err = k.Store.Lease(l.Box.ID); err != nil {
		return store.Lease{}, err
	}
	_, p, err := k.provider(l.Box.Provider)
	if err != nil {
		return store.Lease{}, err
	}
	l.Box.Expose = ports
	err = p.SetLabels(ctx, l.Box.ProviderID, l.Box.AllLabels(l.Nonce))
	if err != nil && fault.KindOf(err) != fault.Unsupported {
		return store.Lease{}, fault.New(fault.KindOf(err), "", "set the labels of %s: %w", l.Box.Slug, err)
	}
	return k.Store.UpdateLease(l.Box.ID, func(stored *store.Lease) { stored.Box.Expose = ports })
}

// provider returns the provider of that name, built once per Keeper.
func (k *Keeper) provider(name string) (provider.Descriptor, provider.Provider, error) {
	d, err := k.Providers.Find(name)
	if err != nil {
		return d, nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.built[d.Name]; p != nil {
		return d, p, nil
	}
	settings, err := k.Settings(d)
	if err != nil {
		return d, nil, err
	}
	p, err := d.New(settings)
	if err != nil {
		return d, nil, fault.New(fault.KindOf(err), "", "provider %s: %w", d.Name, err)
	}
	if k.built == nil {
		k.built = map[string]provider.Provider{}
	}
	k.built[d.Name] = p
	return d, p, nil
}

func (k *Keeper) now() time.Time {
	if k.Now != nil {
		return k.Now()
	}
	return time.Now()
}

// leases reads all leases; records that were set aside go to warn.
func (k *Keeper) leases(warn func(store.Broken)) ([]store.Lease, error) {
	leases, broken, err := k.Store.Leases()
	for _, b := range broken {
		warn(b)
	}
	return leases, err
}

func (k *Keeper) warnBroken(b store.Broken) {
	if k.Warn != nil {
		k.Warn(brokenFault(b))
	}
}

func brokenFault(b store.Broken) error {
	if b.Aside == "" {
		return fault.New(fault.Failed, "Its box may still exist.", "the lease's record %s cannot be read: %s", b.Path, b.Reason)
	}
	return fault.New(fault.Failed, "Its box may still exist. The record is now "+b.Aside+".", "the lease's record %s could not be read and was set aside: %s", b.Path, b.Reason)
}
