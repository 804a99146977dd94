package cli

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/agent/client"
	"crabbox/internal/box"
	"crabbox/internal/config"
	"crabbox/internal/crew"
	"crabbox/internal/fault"
	"crabbox/internal/login"
	"crabbox/internal/provider"
	"crabbox/internal/store"
)

// loginTime bounds one login to a box that is believed to be up.
const loginTime = 30 * time.Second

// app is one run of the program.
type app struct {
	io        IO
	out       *printer
	signals   *signals
	providers provider.Registry
	version   string

	openOnce sync.Once // guards home and homeErr
	home     *home
	homeErr  error
}

// home is everything that hangs on the person's settings and CRABBOX_HOME.
type home struct {
	config *config.Config
	store  *store.Store
	login  *login.Dialer
	keeper *crew.Keeper
}

// open reads the settings and opens the store, once; commands that need
// neither never pay for it.
func (a *app) open() (*home, error) {
	a.openOnce.Do(func() { a.home, a.homeErr = a.newHome() })
	return a.home, a.homeErr
}

func (a *app) newHome() (*home, error) {
	settings, err := config.Load(a.io.Getenv, a.providers)
	if err != nil {
		return nil, err
	}
	kept, err := store.Open(settings.Home)
	if err != nil {
		return nil, err
	}
	dialer := &login.Dialer{
		Pins:     kept,
		Getenv:   a.io.Getenv,
		UserHome: settings.UserHome,
		Ask:      a.asker(),
		FirstContact: func(name string, key ssh.PublicKey) {
			a.out.say("first contact with %s: its host key is %s %s, remembered from now on", hostTitle(kept, name), key.Type(), ssh.FingerprintSHA256(key))
		},
		Log: slog.New(slog.DiscardHandler),
	}
	keeper := &crew.Keeper{
		Store:     kept,
		Providers: a.providers,
		Settings:  settings.Settings,
		Login:     dialer,
		Warn:      a.trouble,
	}
	return &home{settings, kept, dialer, keeper}, nil
}

// hostTitle is what a person calls the machine whose host key is pinned under
// name: a lease's id, or the place of a jump host.
func hostTitle(kept *store.Store, name string) string {
	l, err := kept.Lease(box.ID(name))
	if err != nil {
		return name
	}
	return l.Box.Slug + ", " + where(l.Box.Endpoint)
}

// agentOptions say how this program finds and starts the agent.
func (a *app) agentOptions(h *home) client.Options {
	return client.Options{
		Home:       h.config.Home,
		Executable: a.io.Executable,
		Version:    a.version,
		Warn:       func(text string) { a.out.warn("%s", text) },
	}
}

// runningAgent is a client of the agent, nil when none runs.
func (a *app) runningAgent(ctx context.Context, h *home) (*client.Client, error) {
	c, err := client.Find(ctx, a.agentOptions(h))
	if errors.Is(err, fault.NotFound) {
		return nil, nil
	}
	return c, err
}

// leasesChanged lets a running agent look at the leases at once. The agent
// would see the change by itself a moment later, so trouble is not worth a word.
func (a *app) leasesChanged(ctx context.Context, h *home) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if c, err := a.runningAgent(ctx, h); err == nil && c != nil {
		_ = c.Refresh(ctx)
	}
}

// connect logs in to the lease's box at today's endpoint.
func (a *app) connect(ctx context.Context, h *home, l store.Lease) (*ssh.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	l, err := h.keeper.Refresh(ctx, l)
	if err != nil {
		return nil, err
	}
	target, err := h.keeper.Target(l)
	if err != nil {
		return nil, err
	}
	return h.login.Connect(ctx, target)
}

// trouble reports something that does not stop the work, with its remedy.
func (a *app) trouble(err error) {
	a.out.warn("%v", err)
	a.out.advise(fault.RemedyOf(err))
}

// problems reports what could not be read or asked, and tells whether there
// was any.
func (a *app) problems(all []crew.Problem) bool {
	for _, p := range all {
		switch {
		case p.Lease != "":
			a.trouble(fault.New(fault.Failed, "", "%s (%s): %w", string(p.Lease), p.Provider, p.Err))
		case p.Provider != "":
			a.trouble(fault.New(fault.Failed, "", "provider %s: %w", p.Provider, p.Err))
		default:
			a.trouble(p.Err)
		}
	}
	return len(all) > 0
}

// brokenFiles reports state that could not be read and was set aside.
func (a *app) brokenFiles(broken []store.Broken) {
	for _, b := range broken {
		where := "left in place"
		if b.Aside != "" {
			where = "kept as " + b.Aside
		}
		a.out.warn("%s cannot be read: %s (%s; crabbox doctor says more)", b.Path, b.Reason, where)
	}
}
