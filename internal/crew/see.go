package crew

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
	"crabbox/internal/store"
)

// confirmEvery is how old Updated may get while nothing else changes. The agent
// asks at every dial; writing each time would wake all who watch the leases.
const confirmEvery = time.Minute

// Refresh asks the provider for the box as it is now and stores it. NotFound
// means proven gone, or released by somebody else.
func (k *Keeper) Refresh(ctx context.Context, l store.Lease) (store.Lease, error) {
	stored, err := k.Store.Lease(l.Box.ID)
	if err != nil {
		return l, err
	}
	l = stored
	d, p, err := k.provider(l.Box.Provider)
	if err != nil {
		return l, err
	}
	if l.Box.ProviderID == "" {
		return l, nil // being created, or its warmup crashed: the provider cannot be asked by id yet
	}
	seen, err := p.Get(ctx, l.Box.ProviderID)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return l, fault.New(fault.KindOf(err), "", "ask provider %s for %s: %w", d.Name, l.Box.Slug, err)
	}
	if err != nil {
		gone, storeErr := k.record(d, l, nil)
		if storeErr != nil && !errors.Is(storeErr, fault.NotFound) {
			return l, storeErr
		}
		return gone, fault.New(fault.NotFound, "crabbox release "+string(l.Box.ID)+" forgets the lease.", "the box of %s is gone: %w", l.Box.Slug, err)
	}
	return k.record(d, l, &seen)
}

// record stores what the provider says about l's box, nil for proven gone, and
// returns the lease as it is now. NotFound when it was released meanwhile.
func (k *Keeper) record(d provider.Descriptor, l store.Lease, seen *box.Box) (store.Lease, error) {
	stored, err := k.Store.Lease(l.Box.ID)
	if err != nil {
		return l, err
	}
	next := stored
	if err := k.apply(d, &next, seen); err != nil {
		return stored, err
	}
	next.Updated = k.now()
	if same(next.Box, stored.Box) && next.Updated.Sub(stored.Updated) < confirmEvery {
		return stored, nil
	}
	var applyErr error
	next, err = k.Store.UpdateLease(l.Box.ID, func(stored *store.Lease) {
		applyErr = k.apply(d, stored, seen)
		stored.Updated = k.now()
	})
	return next, errors.Join(err, applyErr)
}

// same compares boxes as they are stored: an empty list is no list.
func same(a, b box.Box) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// apply brings l up to date with what the provider says about its box, nil for
// proven gone. A box is not called running before its warmup has logged in.
func (k *Keeper) apply(d provider.Descriptor, l *store.Lease, seen *box.Box) error {
	if seen == nil {
		l.Box.State = box.Gone
		return nil
	}
	b := &l.Box
	if err := adopt(d, b, *seen); err != nil {
		return err
	}
	if b.State == box.Creating {
		return nil
	}
	b.State = seen.State
	if d.Can.Labels == provider.LabelsNative && seen.ID == b.ID {
		b.Role, b.Owner, b.Expose, b.Labels = seen.Role, seen.Owner, seen.Expose, seen.Labels
		if !seen.Expires.IsZero() {
			b.Expires = seen.Expires
		}
	}
	return nil
}

// adopt takes over what only the provider can know: its id for the box, the
// endpoint of today and its note. Host keys come from it only while we know
// none, since they are final after the first contact.
func adopt(d provider.Descriptor, b *box.Box, seen box.Box) error {
	if seen.ID != "" && seen.ID != b.ID {
		return fault.New(fault.NotOurs, "Look at it in the provider's console.",
			"box %q of provider %s carries lease %q instead of %s", seen.ProviderID, d.Name, seen.ID, b.ID)
	}
	keys := b.Endpoint.HostKey.Keys
	b.Endpoint = seen.Endpoint
	if len(keys) > 0 {
		b.Endpoint.HostKey.Keys = keys
	}
	if seen.ProviderID != "" {
		b.ProviderID = seen.ProviderID
	}
	if seen.Note != "" {
		b.Note = seen.Note
		addNote(b, udpNote(b.Expose))
	}
	return nil
}
