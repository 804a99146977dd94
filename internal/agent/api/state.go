package api

import "crabbox/internal/mesh"

// ForwardState is the state of a forward: one of package mesh, or Unsupported.
type ForwardState = mesh.ForwardState

// The states by which faces decide, under names that say whose they are: faces
// do not see the mesh itself.
const (
	LinkConnecting = mesh.Connecting
	LinkUp         = mesh.Up
	LinkRefused    = mesh.Refused
	LinkGone       = mesh.Gone

	PortUnproven   = mesh.Unproven
	PortUsable     = mesh.Usable
	PortRefused    = mesh.NoTarget
	PortProhibited = mesh.Prohibited
	PortDown       = mesh.Down
	PortUnbound    = mesh.Unbound

	// Unsupported: no plane can carry it.
	Unsupported ForwardState = "unsupported"
)
