// Package static is the provider "ssh": machines that exist already and that
// the person can log in to. Leasing one touches nothing on it; it only keeps
// anybody else on this machine from leasing the same one. How to reach it is
// what OpenSSH would do: the person's ssh_config is honoured.
//
// It opens no connections.
package static

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

// Name is the provider's name in commands and records.
const Name = "ssh"

// The options, by name.
const (
	optHost     = "host"
	optUser     = "user"
	optPort     = "port"
	optIdentity = "identity"
	optConfig   = "config"
	optHosts    = "hosts"
)

// Descriptor describes the provider.
func Descriptor() provider.Descriptor {
	return provider.Descriptor{
		Name:    Name,
		Aliases: []string{"static"},
		Summary: "machines that exist already, reached as your ssh_config says",
		Can:     provider.Abilities{Labels: provider.LabelsLocal},
		Options: []provider.Option{
			{Name: optHost, Help: "the machine: [user@]host[:port], or a Host of your ssh_config"},
			{Name: optUser, Help: "user to log in as, when not part of the host"},
			{Name: optPort, Help: "port of its SSH server, when not part of the host"},
			{Name: optIdentity, Help: "private key file to log in with, and no other"},
			{Name: optConfig, Help: "ssh_config file to read instead of yours"},
			{Name: optHosts, Help: "pool of machines that a lease without a host takes a free one of", List: true, ConfigOnly: true},
		},
		New:   New,
		Ready: ready,
	}
}

// Static lends machines out of a person's ssh_config.
type Static struct {
	records records
	options provider.Options
	getenv  func(string) string
	home    string
	ssh     string // OpenSSH's client; "" where there is none
	log     *slog.Logger
}

var _ provider.Provider = (*Static)(nil)

// New builds the provider; it makes Settings.Dir.
func New(s provider.Settings) (provider.Provider, error) {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		ssh = ""
	}
	return build(s, ssh)
}

// build is New with a given OpenSSH client.
func build(s provider.Settings, ssh string) (*Static, error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, fault.New(fault.Failed, "Check that CRABBOX_HOME can be written to.", "provider ssh: its folder cannot be made: %w", err)
	}
	return &Static{records: records{dir: s.Dir, log: s.Log}, options: s.Options, getenv: s.Getenv, home: s.UserHome, ssh: ssh, log: s.Log}, nil
}

func ready(_ context.Context, s provider.Settings) (string, error) {
	if _, err := exec.LookPath("ssh"); err != nil {
		return "OpenSSH is not installed: the documented part of ssh_config is read by crabbox itself", nil
	}
	return "", nil
}

// Create takes the host that r names, or a free one of the pool.
func (p *Static) Create(ctx context.Context, r provider.Request) (box.Box, error) {
	if held, err := p.records.get(string(r.Box.ID)); err == nil {
		return p.again(ctx, held, r)
	} else if !errors.Is(err, fault.NotFound) {
		return box.Box{}, err
	}
	wishes, err := p.wishes(r.Options)
	if err != nil {
		return box.Box{}, err
	}
	var busy []string
	for _, w := range wishes {
		way, err := p.resolve(ctx, w)
		if err != nil {
			return box.Box{}, err
		}
		mine := record{
			Version: recordVersion, ID: string(r.Box.ID), Nonce: r.Nonce,
			Wish: w, Place: way.place, Labels: r.Box.AllLabels(r.Nonce),
		}
		holder, err := p.records.claim(ctx, mine)
		switch {
		case err != nil:
			return box.Box{}, err
		case holder.ID == mine.ID && holder.Wish == w && holder.Nonce == r.Nonce:
			r.Progress("taking " + w.Host)
			return p.assemble(holder, way) // nothing that ctx could still interrupt
		case holder.ID == mine.ID: // another call for the same lease was faster
			return p.again(ctx, holder, r)
		}
		busy = append(busy, w.Host+" is held by "+holder.who())
	}
	return box.Box{}, allBusy(wishes, busy)
}

// again answers a Create for a lease that has its machine.
func (p *Static) again(ctx context.Context, held record, r provider.Request) (box.Box, error) {
	if held.Nonce != r.Nonce {
		return box.Box{}, fault.New(fault.Conflict, "Release that lease first (crabbox release).", "lease %s is held by another attempt", held.ID)
	}
	return p.box(ctx, held)
}

// wishes are the hosts to try: the one that the options name, else the pool.
func (p *Static) wishes(own provider.Options) ([]wish, error) {
	option := func(name string) string {
		if v := own[name]; v != "" {
			return v
		}
		return p.options[name]
	}
	hosts := p.options.Lines(optHosts)
	if host := option(optHost); host != "" {
		hosts = []string{host}
	}
	if len(hosts) == 0 {
		return nil, fault.New(fault.Usage, "Name one with -o host=[user@]host[:port], or list several under providers.ssh.hosts in config.yaml.", "provider ssh has no host to lease")
	}
	var wishes []wish
	for _, host := range hosts {
		w, err := parseWish(host)
		if err == nil {
			err = w.refine(option(optUser), option(optPort))
		}
		if err == nil {
			w.Identity, err = p.existing("identity", option(optIdentity))
		}
		if err == nil {
			w.Config, err = p.existing("config", option(optConfig))
		}
		if err != nil {
			return nil, err
		}
		wishes = append(wishes, w)
	}
	return wishes, nil
}

// existing makes a path that a person typed absolute, and refuses one that is
// not there.
func (p *Static) existing(what, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	path, err := filepath.Abs(tilde(path, p.home))
	if err == nil {
		_, err = os.Stat(path)
	}
	if errors.Is(err, fs.ErrNotExist) && what == optIdentity {
		if _, public := os.Stat(path + ".pub"); public == nil {
			err = nil // the private half may be in an ssh-agent
		}
	}
	if err != nil {
		return "", fault.New(fault.Usage, "Name a file that exists.", "option %s: %w", what, err)
	}
	return path, nil
}

func allBusy(wishes []wish, busy []string) error {
	const remedy = "Release one (crabbox release), or name another host with -o host=."
	if len(wishes) == 1 {
		return fault.New(fault.Conflict, remedy, "host %s", busy[0])
	}
	return fault.New(fault.Conflict, remedy, "no host of the pool is free: %s", strings.Join(busy, ", "))
}

// Get returns the lease's machine as ssh_config describes it today.
func (p *Static) Get(ctx context.Context, id string) (box.Box, error) {
	r, err := p.records.get(id)
	if err != nil {
		return box.Box{}, err
	}
	return p.box(ctx, r)
}

// List returns the machines that this person has leased on this machine. One
// whose ssh_config is broken is listed with a note and without an endpoint.
func (p *Static) List(ctx context.Context, match box.Labels) ([]box.Box, error) {
	all, err := p.records.all()
	if err != nil {
		return nil, err
	}
	var found []record
	for _, r := range all {
		if r.Labels.Match(match) {
			found = append(found, r)
		}
	}
	boxes := make([]box.Box, len(found))
	errs := make([]error, len(found))
	var asking sync.WaitGroup
	slots := make(chan struct{}, 8) // each asks OpenSSH, a process
	for i, r := range found {
		asking.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			boxes[i], errs[i] = p.listed(ctx, r)
		})
	}
	asking.Wait()
	return boxes, errors.Join(errs...)
}

func (p *Static) listed(ctx context.Context, r record) (box.Box, error) {
	b, err := p.box(ctx, r)
	if err == nil || ctx.Err() != nil {
		return b, err
	}
	b, assembleErr := p.assemble(r, way{})
	b.Note = "its ssh settings cannot be read: " + err.Error()
	return b, assembleErr
}

// SetLabels replaces the labels in the local record.
func (p *Static) SetLabels(ctx context.Context, id string, l box.Labels) error {
	return p.records.relabel(ctx, id, l)
}

// Destroy gives the machine back: only the record goes.
func (p *Static) Destroy(ctx context.Context, id, nonce string) error {
	return p.records.remove(ctx, id, nonce)
}

// box is r as it is today.
func (p *Static) box(ctx context.Context, r record) (box.Box, error) {
	way, err := p.resolve(ctx, r.Wish)
	if err != nil {
		return box.Box{}, err
	}
	return p.assemble(r, way)
}

func (p *Static) assemble(r record, way way) (box.Box, error) {
	b, _, err := box.FromLabels(r.Labels)
	if err != nil {
		return box.Box{}, fault.New(fault.Failed, "", "the record of lease %s: %w", r.ID, err)
	}
	b.Provider, b.ProviderID, b.State = Name, r.ID, box.Running
	b.Endpoint, b.Note = way.endpoint, way.note
	return b, nil
}
