//go:build unix

package agent_test

import (
	"context"
	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
	"crabbox/internal/sshbox"
	"crabbox/internal/store"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// park is a provider whose boxes are files, so that several processes see the
// same ones: <id>.json is the box, and while <id>.trouble exists, asking for it
// takes as long or fails as that says.
type park struct{ dir string }

func parkDescriptor() provider.Descriptor {
	return provider.Descriptor{
		Name: "park", Aliases: []string{"p"}, Summary: "boxes in files",
		Can: provider.Abilities{Labels: provider.LabelsLocal},
		New: func(s provider.Settings) (provider.Provider, error) { return park{s.Dir}, nil },
	}
}

func (p park) Get(ctx context.Context, id string) (b box.Box, err error) {
	if word, err := os.ReadFile(filepath.Join(p.dir, id+".trouble")); err == nil {
		if string(word) != "slow" {
			return b, fault.New(fault.Failed, "Wait.", "the cloud says: %s", word)
		}
		<-ctx.Done()
		return b, ctx.Err()
	}
	data, err := os.ReadFile(filepath.Join(p.dir, id+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return b, fault.New(fault.NotFound, "", "no box %s", id)
	}
	if err != nil {
		return b, err
	}
	return b, json.Unmarshal(data, &b)
}

func (park) Create(context.Context, provider.Request) (box.Box, error) {
	return box.Box{}, fault.Unsupported
}
func (park) List(context.Context, box.Labels) ([]box.Box, error)        { return nil, fault.Unsupported }
func (park) SetLabels(context.Context, string, box.Labels) error        { return fault.Unsupported }
func (park) Destroy(ctx context.Context, id string, nonce string) error { return fault.Unsupported }

// parked is one box: an SSH server of this process.
type parked struct {
	w     *world
	lease store.Lease
	key   ssh.Signer
	stop  func()

	mu       sync.Mutex // guards the fields below
	services map[string]string
	dials    int
}

// box leases a box with a record, a key, a server and the ports.
func (w *world) box(crewName, slug string, ports ...string) *parked {
	w.t.Helper()
	p := w.makeBox(crewName, slug, ports...)
	p.save()
	return p
}

// makeBox makes all of a box but its records.
func (w *world) makeBox(crewName, slug string, ports ...string) *parked {
	w.t.Helper()
	id := box.NewID()
	public, err := w.store.NewKey(id)
	if err != nil {
		w.t.Fatal(err)
	}
	user, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		w.t.Fatal(err)
	}
	p := &parked{w: w, services: map[string]string{}, key: newSigner(w.t)}
	expose, err := box.ParsePorts(ports)
	if len(ports) > 0 && err != nil {
		w.t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	p.lease = store.Lease{Version: store.LeaseVersion, Nonce: box.NewNonce(), Updated: now, Box: box.Box{
		ID: id, Slug: slug, Crew: crewName, Provider: "park", ProviderID: string(id), Owner: "tester",
		Expose: expose, State: box.Running, Created: now,
		Endpoint: box.Endpoint{
			User: "crab", Identity: box.Identity{LeaseKey: true}, Can: box.CanAll,
			HostKey: box.HostKey{Keys: []string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p.key.PublicKey())))}},
		},
	}}
	p.serve(user)
	w.t.Cleanup(func() { p.stop() })
	return p
}

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// serve starts the box's SSH server on a new Unix socket.
func (p *parked) serve(users ...ssh.PublicKey) {
	p.w.t.Helper()
	socket := filepath.Join(p.w.home, "b"+box.NewNonce()[:8])
	listener, err := net.Listen("unix", socket)
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.lease.Box.Endpoint.Dialer, p.lease.Box.Endpoint.Socket = box.DialUnix, socket
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	server := &sshbox.Server{HostKey: p.key, Authorized: users, Home: p.w.home, Dial: p.dial}
	go func() {
		defer close(served)
		server.Serve(ctx, listener)
	}()
	p.stop = func() {
		cancel()
		listener.Close()
		<-served
	}
}

// dial is what the box's server reaches on 127.0.0.1.
func (p *parked) dial(_ context.Context, _, address string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials++
	text, ok := p.services[address]
	if !ok {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	here, there := net.Pipe()
	go func() {
		there.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(there, text)
		there.Close()
	}()
	return here, nil
}

// says lets a port of the box answer every caller with text.
func (p *parked) says(port int, text string) *parked {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.services["localhost:"+strconv.Itoa(port)] = text
	return p
}

// save writes both records: the provider's and ours.
func (p *parked) save() {
	p.w.t.Helper()
	data, err := json.Marshal(p.lease.Box)
	if err != nil {
		p.w.t.Fatal(err)
	}
	if err := p.w.store.WriteFile(data, "providers", "park", p.lease.Box.ProviderID+".json"); err != nil {
		p.w.t.Fatal(err)
	}
	if err := p.w.store.SaveLease(p.lease); err != nil {
		p.w.t.Fatal(err)
	}
}

// trouble has the provider fail for this box, or be slow; "" ends it.
func (p *parked) trouble(word string) {
	p.w.t.Helper()
	name := p.lease.Box.ProviderID + ".trouble"
	if word == "" {
		os.Remove(p.w.store.Path("providers", "park", name))
	} else if err := p.w.store.WriteFile([]byte(word), "providers", "park", name); err != nil {
		p.w.t.Fatal(err)
	}
}

// vanish lets the provider's record go, ours stays.
func (p *parked) vanish() {
	p.w.t.Helper()
	if err := os.Remove(p.w.store.Path("providers", "park", p.lease.Box.ProviderID+".json")); err != nil {
		p.w.t.Fatal(err)
	}
	p.stop()
}

func (p *parked) release() {
	p.w.t.Helper()
	p.vanish()
	if err := p.w.store.RemoveLease(p.lease.Box.ID); err != nil {
		p.w.t.Fatal(err)
	}
}

// publicKey is the lease's user key.
func publicKey(t testing.TB, p *parked) ssh.PublicKey {
	t.Helper()
	text, err := p.w.store.NewKey(p.lease.Box.ID)
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// writePark changes the provider's record alone.
func writePark(w *world, b box.Box) error {
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return w.store.WriteFile(data, "providers", "park", b.ProviderID+".json")
}

// authorized reads a public key file.
func authorized(t testing.TB, file string) ssh.PublicKey {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
