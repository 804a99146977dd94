package cli

import (
	"cmp"
	"strings"
	"time"

	"crabbox/internal/box"
	"crabbox/internal/store"
)

// leaseView is a lease as --json shows it. Scripts rely on its names.
type leaseView struct {
	box.Box
	Expired bool      `json:"expired"`
	Updated time.Time `json:"updated,omitzero"` // when the provider last confirmed it
}

// view hides what is a credential.
func view(l store.Lease, now time.Time) leaseView {
	l.Box.Endpoint = withoutSecrets(l.Box.Endpoint)
	return leaseView{Box: l.Box, Expired: l.Box.Expired(now), Updated: l.Updated}
}

func withoutSecrets(e box.Endpoint) box.Endpoint {
	if e.SecretUser {
		e.User = ""
	}
	jumps := make([]box.Endpoint, len(e.Jump))
	for i, hop := range e.Jump {
		jumps[i] = withoutSecrets(hop)
	}
	if e.Jump = jumps; len(jumps) == 0 {
		e.Jump = nil
	}
	return e
}

// portList prints ports as people type them.
func portList(ports []box.Port) string {
	var words []string
	for _, p := range ports {
		words = append(words, p.String())
	}
	return strings.Join(words, ",")
}

// expiry tells when a box ends, seen from now.
func expiry(b box.Box, now time.Time) string {
	switch {
	case b.Expires.IsZero():
		return "never"
	case b.Expired(now):
		return short(now.Sub(b.Expires)) + " ago"
	}
	return "in " + short(b.Expires.Sub(now))
}

// stateCell shows a box's state; a lease whose time is over is expired
// whatever the provider last said.
func stateCell(b box.Box, now time.Time) cell {
	switch {
	case b.State == box.Gone:
		return cell{"gone", bad}
	case b.Expired(now):
		return cell{"expired", bad}
	case b.State == box.Running:
		return cell{"running", good}
	}
	return cell{cmp.Or(string(b.State), "unknown"), doubt}
}

// where tells how the box's SSH server is reached, without secrets.
func where(e box.Endpoint) string {
	var at string
	switch e.Dialer {
	case box.DialTCP:
		at = strings.Join(e.Addrs, " or ")
	case box.DialUnix:
		at = "a Unix socket on this machine"
	case box.DialCommand:
		at = "a ProxyCommand"
	case box.DialOpener:
		at = "the provider's gateway"
	default:
		return ""
	}
	if e.User != "" && !e.SecretUser {
		at = e.User + " at " + at
	}
	if len(e.Jump) > 0 {
		at += " through a jump host"
	}
	return at
}
