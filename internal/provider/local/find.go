package local

import (
	"context"
	"time"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

// Get returns the box while its process lives. A box that is being made by
// another process has state Creating.
func (p *Provider) Get(ctx context.Context, id string) (box.Box, error) {
	if err := ctx.Err(); err != nil {
		return box.Box{}, err
	}
	if _, err := box.ParseID(id); err != nil {
		return box.Box{}, notFound(id)
	}
	r, err := readRecord(p.folder(id))
	alive, claimed := p.alive(id), p.claimed(id)
	switch {
	case err == nil && alive && (r.Ready || !claimed): // not ready, not claimed: the launcher died just after "go"
		return r.Box, nil
	case claimed && !r.Ready:
		r.Box.ID, r.Box.State = box.ID(id), box.Creating
		r.Box.Provider, r.Box.ProviderID = Name, id
		return r.Box, nil
	case alive:
		return box.Box{}, fault.New(fault.Failed, "crabbox release "+id+" ends it.", "box %s lives, but its record cannot be read: %w", id, err)
	}
	return box.Box{}, notFound(id)
}

func notFound(id string) error {
	return fault.New(fault.NotFound, "crabbox list shows the boxes that are there.", "there is no local box %q", id)
}

// List returns the living boxes whose labels match.
func (p *Provider) List(ctx context.Context, match box.Labels) ([]box.Box, error) {
	p.sweep()
	ids, err := p.ids()
	if err != nil {
		return nil, err
	}
	var boxes []box.Box
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r, err := readRecord(p.folder(id))
		if err != nil || !p.alive(id) {
			continue
		}
		if !r.Ready && p.claimed(id) {
			r.Box.State = box.Creating
		}
		if r.Box.AllLabels(r.Nonce).Match(match) {
			boxes = append(boxes, r.Box)
		}
	}
	return boxes, nil
}

// SetLabels replaces the labels, which must be a whole set of this lease and
// attempt (box.Box.AllLabels). The time at which the box ends by itself was
// fixed when it was made, so a set that moves it is refused.
func (p *Provider) SetLabels(ctx context.Context, id string, l box.Labels) error {
	fresh, nonce, err := box.FromLabels(l)
	if err != nil {
		return fault.New(fault.Usage, "", "the labels of box %s cannot be replaced: %w", id, err)
	}
	if _, err := p.Get(ctx, id); err != nil {
		return err
	}
	release, err := p.hold(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	r, err := readRecord(p.folder(id))
	if err != nil || !p.alive(id) {
		return notFound(id)
	}
	if string(fresh.ID) != id || nonce != r.Nonce {
		return fault.New(fault.NotOurs, "", "the labels are not of box %s", id)
	}
	if fresh.Expires.Unix() != r.Life.Expires.Unix() {
		return fault.New(fault.Unsupported, "Lease another box with the --ttl that you want.", "the end of local box %s was fixed when it was made", id)
	}
	fresh.Provider, fresh.ProviderID = r.Box.Provider, r.Box.ProviderID
	fresh.Endpoint, fresh.State, fresh.Note = r.Box.Endpoint, r.Box.State, r.Box.Note
	r.Box = fresh
	if err := r.write(p.folder(id)); err != nil {
		return fault.New(fault.Failed, "", "the labels of box %s: %w", id, err)
	}
	return nil
}

// killLimit bounds the end of a box: the time that it has to end by itself,
// and then some for the kernel.
const killLimit = 15 * time.Second

// Destroy ends the box with its commands and removes its folder.
func (p *Provider) Destroy(ctx context.Context, id, nonce string) error {
	if _, err := box.ParseID(id); err != nil {
		return fault.New(fault.NotOurs, "", "%q is not a local box", id)
	}
	release, err := p.hold(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	// A record that is not there or not readable proves nothing either way, but
	// then the folder, which is ours alone, is what is left of an attempt.
	if r, err := readRecord(p.folder(id)); err == nil && r.Nonce != nonce {
		return fault.New(fault.NotOurs, "", "local box %s was made by another attempt", id)
	}
	return p.clear(ctx, id)
}

// clear ends the box's process, if any, and removes its folder. The caller
// holds the id.
func (p *Provider) clear(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, killLimit)
	defer cancel()
	r, _ := readRecord(p.folder(id)) // without a record there is still the socket to ask
	if err := p.end(ctx, id, r); err != nil {
		return fault.New(fault.Failed, "crabbox release "+id+" tries again.", "local box %s does not end: %w", id, err)
	}
	p.mu.Lock()
	waited := p.children[id]
	delete(p.children, id)
	p.mu.Unlock()
	if waited != nil {
		select {
		case <-waited:
		case <-ctx.Done():
			return fault.New(fault.Timeout, "crabbox release "+id+" tries again.", "local box %s does not end: %w", id, ctx.Err())
		}
	}
	if err := removeFolder(p.dir, id); err != nil {
		return fault.New(fault.Failed, "Remove the folder by hand.", "local box %s has ended, but its folder stays: %w", id, err)
	}
	return nil
}
