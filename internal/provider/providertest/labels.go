package providertest

import (
	"crabbox/internal/box"
	"crabbox/internal/fault"
)

// relabelled is b with what a whole set of labels (box.Box.AllLabels) says. The
// set must be of the same lease and attempt.
func relabelled(b box.Box, nonce string, l box.Labels) (box.Box, error) {
	fresh, theirs, err := box.FromLabels(l)
	if err != nil {
		return box.Box{}, fault.New(fault.Usage, "", "the labels of box %s cannot be replaced: %w", b.ProviderID, err)
	}
	if fresh.ID != b.ID || theirs != nonce {
		return box.Box{}, fault.New(fault.NotOurs, "", "the labels are of lease %s, and box %s is of lease %s", fresh.ID, b.ProviderID, b.ID)
	}
	fresh.Provider, fresh.ProviderID, fresh.Endpoint, fresh.State, fresh.Note = b.Provider, b.ProviderID, b.Endpoint, b.State, b.Note
	return fresh, nil
}
