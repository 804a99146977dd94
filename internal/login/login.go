// Package login turns a box.Endpoint into a byte stream and the way to log in:
// it dials (TCP with several addresses raced, Unix socket, ProxyCommand, jump
// hosts, or the provider's own stream), offers keys (the lease's, files,
// certificates, ssh-agent) and checks the host key.
//
// It keeps no connections and retries nothing: the mesh and the commands do.
package login

import (
	"context"
	"net"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
)

// Target is one box to log in to.
type Target struct {
	// Name is the alias of its pinned host key.
	Name string
	// Title is what messages call it; "" is Name.
	Title    string
	Endpoint box.Endpoint
	// LeaseKey is the path of the lease's private key; used when
	// Endpoint.Identity.LeaseKey is set.
	LeaseKey string
	// Open is the provider's stream, for endpoints with box.DialOpener.
	Open func(context.Context) (net.Conn, error)
}

// title is what messages call t.
func (t Target) title() string {
	if t.Title != "" {
		return t.Title
	}
	return t.Name
}

// Pins are the host keys that crabbox has seen itself (store implements it).
type Pins interface {
	// Pinned returns the keys pinned for name, none when it is unknown.
	Pinned(name string) ([]ssh.PublicKey, error)
	// Pin remembers key for name, from now on final.
	Pin(name string, key ssh.PublicKey) error
}

// Asker asks the person for a secret on the terminal. It fails where there is
// none.
type Asker func(ctx context.Context, prompt string) ([]byte, error)
