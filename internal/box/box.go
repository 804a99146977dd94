// Package box is the vocabulary of crabbox: boxes, ports, endpoints, labels
// and names. Values and their rules only; it does no input or output.
package box

import "time"

// State is what a provider says about a box.
type State string

// The states of a box. A provider never says Gone: its Get answers
// fault.NotFound.
const (
	Creating State = "creating"
	Running  State = "running"
	Stopped  State = "stopped"
	Gone     State = "gone" // proven by the provider; only our record is left
)

// Box is a machine that we lease.
type Box struct {
	ID         ID        `json:"id"`
	Slug       string    `json:"slug"`
	Crew       string    `json:"crew,omitempty"`
	Role       string    `json:"role,omitempty"`
	Provider   string    `json:"provider"`
	ProviderID string    `json:"provider_id,omitempty"` // the provider's own immutable name for it
	Owner      string    `json:"owner,omitempty"`
	Expose     []Port    `json:"expose,omitempty"`
	Endpoint   Endpoint  `json:"endpoint"`
	State      State     `json:"state"`
	Created    time.Time `json:"created"`
	Expires    time.Time `json:"expires,omitzero"` // zero: no end of its own
	Labels     Labels    `json:"labels,omitempty"` // the user's; ours are fields
	// Note is one sentence a person should know about this box, for instance
	// that it is less isolated than asked for. Empty mostly.
	Note string `json:"note,omitempty"`
}

// Expired tells whether the box's time was over at t.
func (b Box) Expired(t time.Time) bool { return !b.Expires.IsZero() && !t.Before(b.Expires) }
