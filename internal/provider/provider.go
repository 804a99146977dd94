// Package provider is what crabbox asks of somebody who lends boxes: the
// interface, the description of each provider as data, and the list of them.
//
// Providers never print and never decide when to create or destroy: package
// crew does. Their failures are fault.Errors, with the kinds that each method
// names below.
package provider

import (
	"context"
	"log/slog"
	"net"
	"time"

	"crabbox/internal/box"
)

// Provider lends boxes. All methods may be called from several goroutines and,
// since every command is a process of its own, from several processes at once.
type Provider interface {
	// Create makes the box that r describes and returns when its SSH server
	// is expected to answer soon. Calling again with the same r.ID returns
	// the same box, never a second one. When it fails nothing is left, or the
	// error says what is. Kinds: Usage (options), Credentials, Conflict (held
	// by somebody else), Unsupported.
	Create(ctx context.Context, r Request) (box.Box, error)
	// Get returns the box as it is now, with today's endpoint. Kind NotFound
	// means proven gone, never merely unseen.
	Get(ctx context.Context, id string) (box.Box, error)
	// List returns the boxes whose labels match, the provider's own labels
	// included. Boxes that crabbox did not make are left out.
	List(ctx context.Context, match box.Labels) ([]box.Box, error)
	// SetLabels replaces the labels. Unsupported where they are fixed at creation.
	SetLabels(ctx context.Context, id string, l box.Labels) error
	// Destroy ends the box with all that belongs to it. Gone already is
	// success. NotOurs when id is not a box that nonce proves to be ours.
	Destroy(ctx context.Context, id, nonce string) error
}

// Opener is the one extra ability that needs a method: boxes whose SSH server
// has no address to dial (Dialer is box.DialOpener).
type Opener interface {
	// Open returns a fresh byte stream to the box's SSH server. The caller closes it.
	Open(ctx context.Context, b box.Box) (net.Conn, error)
}

// Request describes the box to create. Names and labels are valid already.
type Request struct {
	Box   box.Box // ID, Slug, Crew, Role, Owner, Expose, Labels, Created, Expires; nothing else
	Nonce string  // proves that the box is ours; stored in its labels
	// PublicKey is the lease's user key in authorized_keys format, to be let in.
	PublicKey string
	// HostPrivateKey is an ed25519 host key (OpenSSH PEM) for boxes whose
	// provider can put it there (Abilities.HostKey); it makes the first
	// contact verified. Empty otherwise.
	HostPrivateKey string
	// Size, Image, Region as the person typed them; "" for the provider's default.
	Size, Image, Region string
	// Options are this lease's -o KEY=VALUE, checked against the Descriptor.
	Options Options
	// Progress tells the person what is going on, in one short line. Never nil.
	Progress func(string)
}

// LabelStore says where a provider keeps labels.
type LabelStore string

// Where labels live. With LabelsLocal only this machine knows the crew.
const (
	LabelsNative LabelStore = "on the box"
	LabelsLocal  LabelStore = "in a local record"
)

// Abilities say what a provider can do, as data.
type Abilities struct {
	Labels LabelStore `json:"labels"`
	// TTL: a box ends by itself when its time is over, with no command of ours running.
	TTL bool `json:"ttl"`
	// HostKey: Request.HostPrivateKey becomes the box's host key.
	HostKey bool `json:"host_key"`
	// Owned: Create makes a machine and Destroy ends it; false for machines
	// that exist already and stay.
	Owned bool `json:"owned"`
	// Sizes: Request.Size, Image and Region mean something.
	Sizes bool `json:"sizes"`
	// Tailscale: a box can join a tailnet.
	Tailscale bool `json:"tailscale"`
}

// Descriptor is everything that is known of a provider without using it.
type Descriptor struct {
	Name    string
	Aliases []string
	Summary string // one line, no full stop
	Can     Abilities
	Options []Option
	New     func(Settings) (Provider, error)
	// Ready tells, without spending anything, whether the provider can be used
	// here: nil, with a note when a person should know something ("process
	// boxes: no user namespaces"), or a fault with the remedy.
	Ready func(context.Context, Settings) (note string, err error)
}

// Settings are what a provider is built with.
type Settings struct {
	Options Options // configured values and defaults; -o comes with each Request
	// Dir is a folder of the provider's own under CRABBOX_HOME, made by New
	// when it needs it, 0700.
	Dir string
	// UserHome is the person's home folder (for ~/.ssh and vendors' files).
	UserHome string
	// Executable is the path of the running crabbox.
	Executable string
	// Getenv reads the environment; never nil.
	Getenv func(string) string
	// Log is never nil.
	Log *slog.Logger
}

// DefaultTTL is how long a box lives when nobody says.
const DefaultTTL = 8 * time.Hour
