package crew

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
	"crabbox/internal/store"
)

// cleanupWait bounds the destruction of what a failed warmup made, which the
// person waits for after Ctrl-C.
const cleanupWait = 30 * time.Second

// Warmup leases one box and proves that it can be logged in to. When it fails
// or ctx ends, what it made is destroyed again; what could not be destroyed is
// named in the error and stays in the store for Release.
//
// The order of events; a crash after any of them leaves a lease that Release
// can finish:
//
//  1. The order is checked as a whole; nothing has been written or asked yet.
//  2. The lease's lock is taken and held to the end: a Release meanwhile waits.
//  3. The slug is reserved by writing the record: state creating, the nonce,
//     the host key's public half. Nothing has been spent.
//  4. The user key is made.
//  5. The provider creates the box. From here on something may cost money; until
//     6 it is found by its lease label.
//  6. The record learns the provider's id and the endpoint, and given host keys
//     are pinned.
//  7. A login is tried until it succeeds, is refused, or takes too long.
//  8. The record says running.
func (k *Keeper) Warmup(ctx context.Context, o Order, progress func(string)) (store.Lease, error) {
	if progress == nil {
		progress = func(string) {}
	}
	d, err := k.Providers.Find(o.Provider)
	if err != nil {
		return store.Lease{}, err
	}
	options, err := o.check(d)
	if err != nil {
		return store.Lease{}, err
	}
	_, p, err := k.provider(d.Name)
	if err != nil {
		return store.Lease{}, err
	}
	l, hostKey, err := k.draft(ctx, d, o, options)
	if err != nil {
		return store.Lease{}, err
	}
	unlock, err := k.Store.LockLease(ctx, l.Box.ID)
	if err != nil {
		return store.Lease{}, err
	}
	defer unlock()
	if l, err = k.reserve(ctx, l); err != nil {
		// Nothing was spent; the lock's file and half a record may be there.
		return store.Lease{}, errors.Join(err, k.Store.RemoveLease(l.Box.ID))
	}
	w := warmup{Keeper: k, d: d, p: p, order: o, hostKey: hostKey, progress: progress}
	if err := w.run(ctx, &l); err != nil {
		return store.Lease{}, w.undo(ctx, l, err)
	}
	return l, nil
}

// draft is the lease as it will be recorded first, and the private half of the
// box's host key where the provider can put it there.
func (k *Keeper) draft(ctx context.Context, d provider.Descriptor, o Order, options provider.Options) (store.Lease, string, error) {
	owner := k.Owner
	if owner == "" {
		owner = OwnerName(ctx)
	}
	ttl := o.TTL
	if ttl == 0 {
		ttl = provider.DefaultTTL
	}
	ports := slices.Clone(o.Expose)
	box.SortPorts(ports)
	now := k.now().UTC().Truncate(time.Second) // as labels hold it
	l := store.Lease{
		Nonce:   box.NewNonce(),
		Options: options,
		Box: box.Box{
			ID: box.NewID(), Slug: o.Slug, Crew: o.Crew, Role: o.Role, Owner: owner, Provider: d.Name,
			Expose: ports, Labels: o.Labels, State: box.Creating, Created: now, Expires: now.Add(ttl),
		},
	}
	if !d.Can.HostKey {
		return l, "", nil
	}
	public, private, err := newHostKey(l.Box.ID)
	if err != nil {
		return l, "", err
	}
	l.Box.Endpoint.HostKey.Keys = []string{public}
	return l, private, nil
}

// newHostKey makes an ed25519 host key in memory: the public half as an
// authorized_keys line, the private one as OpenSSH PEM.
func newHostKey(id box.ID) (public, private string, err error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", "", fmt.Errorf("host key of %s: %w", id, err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return "", "", fmt.Errorf("host key of %s: %w", id, err)
	}
	block, err := ssh.MarshalPrivateKey(key, string(id))
	if err != nil {
		return "", "", fmt.Errorf("host key of %s: %w", id, err)
	}
	line := strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(signer.PublicKey())), "\n")
	return line, string(pem.EncodeToMemory(block)), nil
}

// warmup is one box on its way, after its lease was reserved.
type warmup struct {
	*Keeper
	d        provider.Descriptor
	p        provider.Provider
	order    Order
	hostKey  string
	progress func(string)
}

// run takes l from reserved to running. l always says how far it came, also
// when run fails.
func (w warmup) run(ctx context.Context, l *store.Lease) error {
	public, err := w.Store.NewKey(l.Box.ID)
	if err != nil {
		return err
	}
	w.progress("creating " + l.Box.Slug + " with provider " + w.d.Name)
	// The Request's box has what the person chose and nothing else.
	asked := l.Box
	asked.Provider, asked.State, asked.Endpoint = "", "", box.Endpoint{}
	created, err := w.p.Create(ctx, provider.Request{
		Box: asked, Nonce: l.Nonce, PublicKey: public, HostPrivateKey: w.hostKey,
		Size: w.order.Size, Image: w.order.Image, Region: w.order.Region,
		Options: l.Options, Progress: w.progress,
	})
	if err != nil {
		return fault.New(fault.KindOf(err), "", "create %s: %w", l.Box.Slug, err)
	}
	if err := adopt(w.d, &l.Box, created); err != nil {
		return err
	}
	addNote(&l.Box, udpNote(l.Box.Expose))
	if err := w.Store.SaveLease(*l); err != nil {
		return err
	}
	if err := w.pinGiven(l.Box); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return cutShort(ctx, l.Box)
	}
	w.progress("logging in to " + l.Box.Slug)
	if err := w.proveLogin(ctx, l); err != nil {
		return err
	}
	l.Box.State = box.Running
	l.Updated = w.now()
	return w.Store.SaveLease(*l)
}

// pinGiven pins the host keys that were known before the first packet, so that
// our known_hosts file is complete for OpenSSH too.
func (w warmup) pinGiven(b box.Box) error {
	var keys []ssh.PublicKey
	for _, line := range b.Endpoint.HostKey.Keys {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return fmt.Errorf("host key of %s: %w", b.Slug, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil
	}
	return w.Store.PinAll(string(b.ID), keys...)
}

// undo destroys what a failed warmup made, with time of its own since ctx may
// be over, and returns cause with what is left, if anything.
func (w warmup) undo(ctx context.Context, l store.Lease, cause error) error {
	w.progress("removing " + l.Box.Slug)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupWait)
	defer cancel()
	remedy := "crabbox release " + string(l.Box.ID) + " removes what is left."
	if err := destroy(ctx, w.p, l); err != nil {
		// Let the record know as much as we do. When that fails too, what it
		// has from the reservation is enough for Release.
		_ = w.Store.SaveLease(l)
		name := l.Box.ProviderID
		if name == "" {
			name = string(l.Box.ID)
		}
		return fault.New(fault.KindOf(cause), remedy, "%w; its box %s of provider %s may still be there: %v", cause, name, w.d.Name, err)
	}
	if err := w.forget(ctx, l); err != nil {
		return fault.New(fault.KindOf(cause), remedy, "%w; its box is removed but its record is not: %v", cause, err)
	}
	return cause
}

// cutShort is the error of a warmup whose ctx ended.
func cutShort(ctx context.Context, b box.Box) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.New(fault.Timeout, "", "warm up %s: %w", b.Slug, ctx.Err())
	}
	return fmt.Errorf("warm up %s: %w", b.Slug, ctx.Err())
}

func udpNote(ports []box.Port) string {
	if slices.ContainsFunc(ports, func(p box.Port) bool { return p.Proto == box.UDP }) {
		return "Its UDP ports are recorded, but UDP cannot be carried yet."
	}
	return ""
}

func addNote(b *box.Box, note string) {
	if note != "" && !strings.Contains(b.Note, note) {
		b.Note = strings.TrimSpace(b.Note + " " + note)
	}
}
