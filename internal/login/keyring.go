package login

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/fault"
)

// passphraseTries is how often a person may mistype a passphrase.
const passphraseTries = 3

var (
	errGaveUp    = errors.New("its passphrase was not given")
	errNotLocked = errors.New("it is not encrypted")
)

// keyring keeps the encrypted keys that were unlocked, by the content of their
// file, for the life of the process. The zero value is ready to use.
type keyring struct {
	mu     sync.Mutex                       // guards below
	open   map[[sha256.Size]byte]ssh.Signer // unlocked
	gaveUp map[[sha256.Size]byte]bool       // not asked for again
	asking chan struct{}                    // holds one token while a question is on the terminal
}

func (r *keyring) unlocked(f keyFile) (ssh.Signer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	signer, ok := r.open[f.sum]
	return signer, ok && f.locked
}

// unlock returns the key in f, asking for its passphrase at most once per
// process (with a few tries). One question is on the terminal at a time.
func (r *keyring) unlock(ctx context.Context, ask Asker, f keyFile) (ssh.Signer, error) {
	turn := r.turn()
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if signer, ok := r.unlocked(f); ok {
		return signer, nil
	}
	if r.hasGivenUp(f) {
		return nil, errGaveUp
	}
	prompt := fmt.Sprintf("Passphrase for %s: ", f.path)
	for range passphraseTries {
		passphrase, err := ask(ctx, prompt)
		if err != nil {
			return nil, err
		}
		if len(passphrase) == 0 {
			break // as with OpenSSH, an empty answer passes the key over
		}
		signer, err := f.unlock(passphrase)
		clear(passphrase)
		if err == nil {
			r.keep(f, signer)
			return signer, nil
		}
		if !errors.Is(err, x509.IncorrectPasswordError) {
			return nil, err
		}
		prompt = fmt.Sprintf("Wrong. Passphrase for %s: ", f.path)
	}
	r.giveUp(f)
	return nil, errGaveUp
}

func (r *keyring) turn() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asking == nil {
		r.asking = make(chan struct{}, 1)
	}
	return r.asking
}

func (r *keyring) hasGivenUp(f keyFile) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gaveUp[f.sum]
}

func (r *keyring) giveUp(f keyFile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gaveUp == nil {
		r.gaveUp = map[[sha256.Size]byte]bool{}
	}
	r.gaveUp[f.sum] = true
}

func (r *keyring) keep(f keyFile, signer ssh.Signer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = map[[sha256.Size]byte]ssh.Signer{}
	}
	r.open[f.sum] = signer
}

// Locked lists the private key files of t that are encrypted and not unlocked
// yet, and that would be needed because no other identity is at hand.
func (d *Dialer) Locked(t Target) []string {
	id := t.Endpoint.Identity
	if _, err := os.Stat(t.LeaseKey); id.LeaseKey && err == nil {
		return nil
	}
	held, _ := listAgent(context.Background(), d.agentSocket(id.Agent))
	if len(held) > 0 && !id.Only {
		return nil
	}
	var locked []string
	for _, path := range id.Files {
		f, err := readKeyFile(path)
		if err != nil {
			continue
		}
		_, inAgent := held.find(f.public)
		_, open := d.ring.unlocked(f)
		switch {
		case f.signer != nil || inAgent || open:
			return nil
		case f.locked:
			locked = append(locked, path)
		}
	}
	return locked
}

// Unlock opens an encrypted key file for the rest of this process. A wrong
// passphrase is fault.Credentials.
func (d *Dialer) Unlock(file string, passphrase []byte) error {
	f, err := readKeyFile(file)
	if err == nil && !f.locked {
		err = errNotLocked
	}
	if err != nil {
		return fault.New(fault.Usage, "", "key %s cannot be unlocked: %w", file, err)
	}
	signer, err := f.unlock(passphrase)
	if err != nil {
		return fault.New(fault.Credentials, "Try the passphrase again.", "key %s stays locked: %w", file, err)
	}
	d.ring.keep(f, signer)
	return nil
}
