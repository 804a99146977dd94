package login

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/fault"
)

// handshakeLimit ends a Connect whose context has no deadline. It is the time
// that OpenSSH's server grants for a login, so waiting longer is useless.
const handshakeLimit = 2 * time.Minute

// Dialer opens connections for one person: their agent, their keys, their pins.
// It may be used by several goroutines; the fields must not change after the
// first use. Build one per process, since it remembers the keys that were
// unlocked.
type Dialer struct {
	Pins     Pins
	Getenv   func(string) string
	UserHome string
	// Ask is nil where there is no terminal (the agent): encrypted keys that
	// were not unlocked are then passed over and named in the error.
	Ask Asker
	// FirstContact is told about a host key that was just pinned; may be nil.
	FirstContact func(name string, key ssh.PublicKey)
	Log          *slog.Logger

	ring keyring
}

// Dial opens a byte stream to the target and says how to log in, for a caller
// that does the handshake itself (the mesh). ctx bounds the dialling alone; the
// config's callbacks (agent, questions) end when the stream is closed. An error
// of the config's HostKeyCallback is a fault.Conflict; a login that was refused
// is a fault.Credentials, wherever the server's answer lets us tell.
func (d *Dialer) Dial(ctx context.Context, t Target) (net.Conn, *ssh.ClientConfig, error) {
	a, err := d.open(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	return a.conn, a.config, nil
}

// Connect dials and logs in; ctx bounds all of it. Faults: Credentials (key
// refused), Conflict (host key changed), Timeout, Failed. Closing the client
// ends everything under it: hops, child processes, goroutines.
func (d *Dialer) Connect(ctx context.Context, t Target) (*ssh.Client, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, handshakeLimit)
		defer cancel()
	}
	a, err := d.open(ctx, t)
	if err != nil {
		return nil, err
	}
	return a.login(ctx)
}

// attempt is one login that is about to happen: the stream, and what the
// handshake over it will ask.
type attempt struct {
	who    string // for messages
	conn   *stream
	host   *hostCheck
	config *ssh.ClientConfig
}

// open dials t and prepares its login.
func (d *Dialer) open(ctx context.Context, t Target) (*attempt, error) {
	raw, err := d.dial(ctx, t)
	if err != nil {
		return nil, dialFailure(ctx, t.title(), err)
	}
	return d.prepare(ctx, t, raw)
}

// prepare says how to log in to t over raw, which it owns from now on.
func (d *Dialer) prepare(ctx context.Context, t Target, raw net.Conn) (*attempt, error) {
	host, err := d.hostCheck(t)
	if err != nil {
		raw.Close()
		return nil, err
	}
	conn := newStream(ctx, raw)
	o := &offer{dialer: d, target: t, conn: conn, host: host}
	return &attempt{who: t.title(), conn: conn, host: host, config: &ssh.ClientConfig{
		User:              t.Endpoint.User,
		AuthCallback:      o.next,
		HostKeyCallback:   host.check,
		HostKeyAlgorithms: host.algorithms(),
		ClientVersion:     "SSH-2.0-crabbox",
	}}, nil
}

// login does the handshake.
func (a *attempt) login(ctx context.Context) (*ssh.Client, error) {
	// ClientConfig.Timeout does not cover the handshake: closing the stream does.
	stop := context.AfterFunc(ctx, func() { a.conn.Close() })
	conn, channels, requests, err := ssh.NewClientConn(a.conn, a.who, a.config)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = a.host.confirm()
	}
	if err != nil {
		a.conn.Close()
		return nil, a.failure(ctx, err)
	}
	return ssh.NewClient(conn, channels, requests), nil
}

// failure classifies what ended a handshake.
func (a *attempt) failure(ctx context.Context, err error) error {
	if err := ended(ctx, "logging in to "+a.who); err != nil {
		return err
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f // our own callbacks said all there is to say
	}
	if a.host.met() && a.conn.lost() == nil {
		return fault.New(fault.Credentials, "Check the user name and the keys of this host; its log says more.", "%s refused the login: %w", a.who, err)
	}
	return fault.New(fault.Failed, "Check that an SSH server listens at that address.", "ssh handshake with %s: %w", a.who, err)
}

// dialFailure classifies what kept us from reaching who at all.
func dialFailure(ctx context.Context, who string, err error) error {
	if err := ended(ctx, "reaching "+who); err != nil {
		return err
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	return fault.New(fault.Failed, "Check that the box is up and that its address is right.", "cannot reach %s: %w", who, err)
}

// ended returns the fault of a context that is over, nil while it is not.
func ended(ctx context.Context, what string) error {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.Timeout, "Check that the box is up and that nothing on the way swallows the connection.", "%s took too long: %w", what, err)
	default:
		return fault.New(fault.Failed, "", "%s was interrupted: %w", what, err)
	}
}

func (d *Dialer) getenv(name string) string {
	if d.Getenv == nil {
		return os.Getenv(name)
	}
	return d.Getenv(name)
}

func (d *Dialer) log() *slog.Logger {
	if d.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return d.Log
}
