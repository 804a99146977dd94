package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

// cannotIsolate is why a box cannot have namespaces here.
type cannotIsolate struct{ why string }

func (e cannotIsolate) Error() string { return e.why }

// Create makes the box's folder and starts its process. It returns when the
// box answers, so the SSH server can be dialled at once.
func (p *Provider) Create(ctx context.Context, r provider.Request) (box.Box, error) {
	isolation, err := p.option(r, optIsolation)
	if err != nil {
		return box.Box{}, err
	}
	network, err := p.option(r, optNetwork)
	if err != nil {
		return box.Box{}, err
	}
	id := string(r.Box.ID)
	if _, err := box.ParseID(id); err != nil {
		return box.Box{}, err
	}
	if err := p.checkSocketPath(id); err != nil {
		return box.Box{}, err
	}
	release, err := p.hold(ctx, id)
	if err != nil {
		return box.Box{}, err
	}
	defer release()
	if existing, err := readRecord(p.folder(id)); err == nil && existing.Ready && p.alive(id) {
		if existing.Nonce != r.Nonce {
			return box.Box{}, fault.New(fault.Conflict, "Warm up a new lease.", "local box %s exists and belongs to another attempt", id)
		}
		return existing.Box, nil
	}

	if isolation != isolationProcess {
		b, err := p.create(ctx, r, network, "")
		var cannot cannotIsolate
		if !errors.As(err, &cannot) {
			return b, err
		}
		if isolation == isolationNamespace {
			return box.Box{}, noNamespaces(cannot)
		}
		return p.create(ctx, r, network, processNote(cannot.why))
	}
	return p.create(ctx, r, network, processNote("isolation=process is set"))
}

// create makes one attempt; with a note it makes a process box. The caller
// holds the id. When it fails nothing is left, or the error says what is.
func (p *Provider) create(ctx context.Context, r provider.Request, network, note string) (b box.Box, err error) {
	id := string(r.Box.ID)
	if err := p.clear(ctx, id); err != nil { // what an attempt that died left behind
		return box.Box{}, err
	}
	record, err := p.newRecord(r, network, note)
	if err != nil {
		return box.Box{}, err
	}
	defer func() {
		if err == nil {
			return
		}
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), killLimit)
		defer cancel()
		err = errors.Join(err, p.clear(clean, id))
	}()
	if err := p.fill(id, r.HostPrivateKey, record); err != nil {
		return box.Box{}, fault.New(fault.Failed, "Look whether the disk is full.", "the folder of local box %s: %w", id, err)
	}
	r.Progress("starting a box on this machine")
	record, err = p.launch(ctx, record)
	switch {
	case err == nil:
		return record.Box, nil
	case ctx.Err() != nil:
		return box.Box{}, fmt.Errorf("local box %s: %w", id, ctx.Err())
	case errors.As(err, new(cannotIsolate)):
		return box.Box{}, err
	}
	return box.Box{}, fault.New(fault.Failed, "", "local box %s does not start: %w", id, err)
}

// fill makes the folder as the box's process expects it.
func (p *Provider) fill(id, hostKey string, r record) error {
	dir := p.folder(id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, mode := range map[string]os.FileMode{dirHome: 0o700, dirTmp: os.ModeSticky | 0o777, dirVarTmp: os.ModeSticky | 0o777} {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask
			return err
		}
	}
	for name, data := range map[string]string{fileHostKey: hostKey, fileLock: "", fileLog: ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			return err
		}
	}
	return r.write(dir)
}

func (p *Provider) newRecord(r provider.Request, network, note string) (record, error) {
	id := string(r.Box.ID)
	host, err := ssh.ParsePrivateKey([]byte(r.HostPrivateKey))
	if err != nil {
		return record{}, fault.New(fault.Usage, "", "local box %s: its host key cannot be read: %w", id, err)
	}
	if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(r.PublicKey)); err != nil {
		return record{}, fault.New(fault.Usage, "", "local box %s: the lease's key cannot be read: %w", id, err)
	}
	b := r.Box
	b.Provider, b.ProviderID, b.State, b.Note = Name, id, box.Running, note
	b.Endpoint = box.Endpoint{
		Dialer: box.DialUnix, Socket: filepath.Join(p.folder(id), fileSocket), User: p.person.name,
		Identity: box.Identity{LeaseKey: true},
		HostKey:  box.HostKey{Keys: []string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(host.PublicKey())))}},
		Can:      box.CanAll,
	}
	l := life{
		Isolated: note == "", Network: network, Hostname: hostname(b), User: p.person.name,
		Shell: p.person.shell, Authorized: r.PublicKey, Expires: b.Expires,
	}
	if l.Isolated {
		p.person.inside(&l)
	} else {
		p.person.beside(&l, p.folder(id), p.executable)
	}
	return record{Version: recordVersion, Box: b, Nonce: r.Nonce, Life: l}, nil
}

func hostname(b box.Box) string {
	if b.Slug != "" {
		return b.Slug
	}
	return "box"
}

// checkSocketPath refuses a folder so deep that the SSH server's socket could
// not be dialled there.
func (p *Provider) checkSocketPath(id string) error {
	limit := 107 // what sun_path holds, without its NUL
	if runtime.GOOS == "darwin" {
		limit = 103
	}
	if path := filepath.Join(p.folder(id), fileSocket); len(path) > limit {
		return fault.New(fault.Usage, "Set CRABBOX_HOME to a shorter folder.", "the path of the box's socket has %d bytes and the system allows %d: %s", len(path), limit, path)
	}
	return nil
}

// launchLimit is how long a box may take to answer. It takes a tenth of a
// second; the rest is for a machine that is very busy.
const launchLimit = 20 * time.Second
