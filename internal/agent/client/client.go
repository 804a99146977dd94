// Package client is how a command talks to the agent: it finds the socket,
// starts the agent when there is none, and makes the calls of package api.
package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"crabbox/internal/agent/api"
	"crabbox/internal/fault"
)

// ErrGone is wrapped by errors that mean that no agent answers, as against
// NotFound errors that an agent answered with.
var ErrGone = errors.New("no agent answers")

// callTime bounds every call but Watch: the agent answers none of them from
// the network.
const callTime = 30 * time.Second

// Client speaks to one user's agent. It may be used by several goroutines. It
// holds no connection between calls.
type Client struct {
	o      Options
	starts bool // a call that meets no agent starts one
	http   *http.Client

	mu   sync.Mutex // guards seen
	seen string     // the agent's version that was warned about last
}

// Options say where the agent lives and how to start it.
type Options struct {
	Home       string // CRABBOX_HOME
	Executable string // this program; started as `crabbox agent run`
	Version    string // ours; the agent's may differ
	// Warn is told about things that do not stop the work, such as an agent
	// of another version. Never nil.
	Warn func(string)
}

// Connect returns a client of the running agent, starting one if absent. The
// client's later calls start one too when the agent has ended meanwhile.
func Connect(ctx context.Context, o Options) (*Client, error) {
	c, err := newClient(o, true)
	if err != nil {
		return nil, err
	}
	if _, err := c.Version(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Find returns a client of the running agent; fault.NotFound when none runs.
func Find(ctx context.Context, o Options) (*Client, error) {
	c, err := newClient(o, false)
	if err != nil {
		return nil, err
	}
	if _, err := c.Version(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

func newClient(o Options, starts bool) (*Client, error) {
	home, err := filepath.Abs(o.Home)
	if err != nil {
		return nil, fault.New(fault.Usage, "Set CRABBOX_HOME to the full path of a folder.", "state folder: %w", err)
	}
	o.Home = home
	c := &Client{o: o, starts: starts}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if err := CheckSocket(c.socket()); err != nil {
				return nil, err
			}
			var d net.Dialer
			return d.DialContext(ctx, "unix", c.socket())
		},
		// The agent may be another one at the next call.
		DisableKeepAlives: true,
	}}
	return c, nil
}

func (c *Client) socket() string { return filepath.Join(c.o.Home, api.SocketFile) }

// Version asks which agent answers.
func (c *Client) Version(ctx context.Context) (api.Version, error) {
	var v api.Version
	err := c.call(ctx, api.PathVersion, nil, &v)
	if err == nil {
		c.compare(v)
	}
	return v, err
}

// compare warns once about an agent of another version. It is not stopped: the
// connections that it holds may be in use.
func (c *Client) compare(v api.Version) {
	c.mu.Lock()
	news := v.Version != c.o.Version && v.Version != c.seen
	c.seen = v.Version
	c.mu.Unlock()
	if news {
		c.o.Warn("the running agent is version " + printable(v.Version) + ", this program is " + c.o.Version +
			"; crabbox agent stop ends it, and the next command starts one of this version")
	}
}

// Crews returns the connected crews.
func (c *Client) Crews(ctx context.Context) ([]api.Crew, error) {
	var crews []api.Crew
	err := c.call(ctx, api.PathCrews, nil, &crews)
	return crews, err
}

// Crew returns one connected crew; NotFound when it is not connected.
func (c *Client) Crew(ctx context.Context, name string) (api.Crew, error) {
	return c.crew(ctx, api.PathCrew, name, nil)
}

// ConnectCrew connects a crew until it is disconnected. It returns when the
// local addresses are bound; the links come up afterwards.
func (c *Client) ConnectCrew(ctx context.Context, name string, r api.ConnectRequest) (api.Crew, error) {
	return c.crew(ctx, api.PathConnect, name, r)
}

// Disconnect takes a crew down and returns it as it was; NotFound when it is
// not connected.
func (c *Client) Disconnect(ctx context.Context, name string) (api.Crew, error) {
	return c.crew(ctx, api.PathDrop, name, nil)
}

func (c *Client) crew(ctx context.Context, path, name string, body any) (api.Crew, error) {
	var crew api.Crew
	err := c.call(ctx, path, body, &crew, "{crew}", name)
	return crew, err
}

// Cut drops a member's SSH connection; it heals.
func (c *Client) Cut(ctx context.Context, crew, slug string) error {
	return c.call(ctx, api.PathCut, nil, nil, "{crew}", crew, "{slug}", slug)
}

// Refresh lets the agent look at the leases at once, and returns when it has.
func (c *Client) Refresh(ctx context.Context) error {
	return c.call(ctx, api.PathRefresh, nil, nil)
}

// Unlock opens an encrypted private key file for the agent's logins.
func (c *Client) Unlock(ctx context.Context, r api.UnlockRequest) error {
	return c.call(ctx, api.PathUnlock, r, nil)
}

// Stop ends the agent and returns when it has taken everything down. Crews that
// are wanted for good come back with the next agent.
func (c *Client) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var before api.Version
	if err := c.deliver(ctx, api.PathVersion, nil, &before); err != nil {
		return err
	}
	if err := c.deliver(ctx, api.PathStop, nil, nil); err != nil {
		return err
	}
	for Running(c.o) {
		var now api.Version
		if err := c.deliver(ctx, api.PathVersion, nil, &now); err == nil && now.PID != before.PID {
			return nil // somebody's command has started the next one
		}
		if err := pause(ctx, startPoll); err != nil {
			return fault.New(fault.Timeout, "End the process whose id is in "+api.LockFile+".", "the agent does not end: %w", err)
		}
	}
	return nil
}

// Running tells whether an agent lives, without asking it: one that hangs holds
// its lock as well. An agent that starts at this very moment tries again.
func Running(o Options) bool {
	path := filepath.Join(o.Home, api.LockFile)
	if _, err := os.Lstat(path); err != nil {
		return false
	}
	lock := flock.New(path, flock.SetFlag(os.O_RDWR))
	defer lock.Close()
	free, err := lock.TryLock()
	return !free || err != nil
}
