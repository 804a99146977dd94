package crew

import (
	"context"
	"errors"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
	"crabbox/internal/store"
)

// Release destroys the box and then forgets the lease with its keys. Releasing
// what is gone already succeeds; so do two releases at once. While the box is
// still being warmed up it waits for that to end.
func (k *Keeper) Release(ctx context.Context, l store.Lease) error {
	id := l.Box.ID
	unlock, err := k.Store.LockLease(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	l, err = k.Store.Lease(id)
	if errors.Is(err, fault.NotFound) {
		return k.Store.RemoveLease(id) // the lock's file is all that there is
	}
	if err != nil {
		return err
	}
	_, p, err := k.provider(l.Box.Provider)
	if err != nil {
		return err
	}
	if err := destroy(ctx, p, l); err != nil {
		return fault.New(fault.KindOf(err), "", "release %s: %w", l.Box.Slug, err)
	}
	return k.forget(ctx, l)
}

// forget removes all that we remember of a lease whose box is destroyed; the
// lease itself last, so that a failure can be tried again.
func (k *Keeper) forget(ctx context.Context, l store.Lease) error {
	if err := k.Store.ForgetMember(ctx, l.Box.Crew, l.Box.Slug); err != nil {
		return err
	}
	return k.Store.RemoveLease(l.Box.ID)
}

// destroy ends the lease's box. A record without the provider's id is one whose
// warmup crashed around Create: the box is then looked for by its lease label,
// else taken to have the lease's id, as with providers that use it as theirs.
func destroy(ctx context.Context, p provider.Provider, l store.Lease) error {
	ids := []string{l.Box.ProviderID}
	if l.Box.ProviderID == "" {
		boxes, err := p.List(ctx, box.Labels{box.KeyLease: string(l.Box.ID)})
		if err != nil {
			return err
		}
		ids = nil
		for _, b := range boxes {
			ids = append(ids, b.ProviderID)
		}
		if len(ids) == 0 {
			ids = []string{string(l.Box.ID)}
		}
	}
	var errs []error
	for _, id := range ids {
		if err := p.Destroy(ctx, id, l.Nonce); err != nil && !errors.Is(err, fault.NotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
