// Package local lends boxes on this very machine.
//
// A box is one process, this executable run again, with an SSH server behind a
// Unix socket. On Linux it lives in user, mount, PID, UTS, IPC and network
// namespaces of its own: the system is there read-only, the home folder, /tmp,
// the hosts file and the loopback are the box's own, and so is its list of
// processes. Where namespaces are not to be had it is a plain process, and
// says so. No root, no container engine, no helper program.
//
// The folder Settings.Dir/<lease id> is all that a box leaves on disk:
//
//	meta.json       what it is: names, labels, nonce, how it lives (see record)
//	host_key        the SSH server's private key
//	lock            held by the box's process for as long as it lives
//	ssh.sock        where its SSH server listens
//	home/ tmp/ ...  its own writable folders
//	log             what its process had to say
//
// Nothing here trusts a process id from disk: a box is alive exactly as long
// as its lock is held (see alive and end).
package local

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"

	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

// Name is what the provider is called.
const Name = "local"

// EnvExecutable is the variable that tells every command in a box where it
// finds this very executable.
const EnvExecutable = "CRABBOX_EXE"

// Descriptor describes the provider.
func Descriptor() provider.Descriptor {
	return provider.Descriptor{
		Name:    Name,
		Summary: "boxes on this machine, without root or containers",
		Can:     provider.Abilities{Labels: provider.LabelsLocal, TTL: true, HostKey: true, Owned: true},
		Options: []provider.Option{
			{Name: optIsolation, Help: "how a box is kept apart; auto takes namespaces where they can be had", Default: isolationAuto, Values: []string{isolationAuto, isolationNamespace, isolationProcess}},
			{Name: optNetwork, Help: "own: a loopback of its own and no way out; host: the network of this machine", Default: networkOwn, Values: []string{networkOwn, networkHost}},
		},
		New:   func(s provider.Settings) (provider.Provider, error) { return New(s) },
		Ready: ready,
	}
}

// The options and their values.
const (
	optIsolation       = "isolation"
	isolationAuto      = "auto"
	isolationNamespace = "namespace"
	isolationProcess   = "process"

	optNetwork  = "network"
	networkOwn  = "own"
	networkHost = "host"
)

// Provider lends local boxes. It keeps no state but the processes that it
// started itself, so any number of them may work on the same folder.
type Provider struct {
	dir        string // Settings.Dir
	executable string
	options    provider.Options
	person     person
	log        *slog.Logger

	mu       sync.Mutex               // guards children
	children map[string]chan struct{} // by id: closed when a box that we started has been waited for
}

var _ provider.Provider = (*Provider)(nil)

// New returns the provider and removes what dead boxes left behind. It makes
// no folder; the first Create does.
func New(s provider.Settings) (*Provider, error) {
	if s.Dir == "" || s.Executable == "" {
		return nil, fault.New(fault.Usage, "", "provider local needs a folder and the path of crabbox")
	}
	dir, err := filepath.Abs(s.Dir)
	if err != nil {
		return nil, fault.New(fault.Failed, "", "the folder of local boxes: %w", err)
	}
	p := &Provider{
		dir: dir, executable: s.Executable, options: s.Options,
		person: personOf(s), log: s.Log, children: map[string]chan struct{}{},
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.sweep()
	return p, nil
}

// option is what the request says, else the settings, else the default.
func (p *Provider) option(r provider.Request, name string) (string, error) {
	for _, set := range []provider.Options{r.Options, p.options} {
		if value := set[name]; value != "" {
			return value, Descriptor().Check("local", name, value)
		}
	}
	o, _ := Descriptor().Option(name)
	return o.Default, nil
}

// ready tries what a box needs; it starts one process that ends at once.
func ready(ctx context.Context, s provider.Settings) (string, error) {
	p := &Provider{executable: s.Executable, person: personOf(s)}
	if s.Options[optIsolation] == isolationProcess {
		return processNote("isolation=process is set"), nil
	}
	err := p.probe(ctx)
	if err == nil {
		return "", nil
	}
	if ctx.Err() != nil {
		return "", fault.New(fault.Timeout, "", "trying namespaces: %w", ctx.Err())
	}
	if s.Options[optIsolation] == isolationNamespace {
		return "", noNamespaces(err)
	}
	note := processNote(err.Error())
	if hint := namespaceHint(); hint != "" && errors.As(err, new(cannotIsolate)) {
		note += ". " + hint
	}
	return note, nil
}

// processNote is what a person should know about a box without isolation.
func processNote(why string) string {
	return "a plain process without isolation from this account: " + why
}

// noNamespaces is the refusal of a box that was asked to have namespaces.
func noNamespaces(why error) error {
	remedy := "Leave -o isolation=namespace out for a plain process box."
	if hint := namespaceHint(); hint != "" {
		remedy = hint + " Or leave -o isolation=namespace out for a plain process box."
	}
	return fault.New(fault.Unsupported, remedy, "local boxes cannot have namespaces here: %w", why)
}
