package store

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

const publicSuffix = ".pub"

// NewKey makes the lease's ed25519 user key and returns its public half in
// authorized_keys format. A key that exists already is kept.
func (s *Store) NewKey(id box.ID) (public string, err error) {
	if _, err := box.ParseID(string(id)); err != nil {
		return "", err
	}
	path := s.KeyPath(id)
	existing, err := os.ReadFile(path)
	switch {
	case err == nil:
		return publicHalf(id, existing)
	case !errors.Is(err, fs.ErrNotExist):
		return "", fault.New(fault.Failed, homeRemedy, "key of lease %s: %w", id, err)
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", fmt.Errorf("key of lease %s: %w", id, err)
	}
	block, err := ssh.MarshalPrivateKey(private, string(id))
	if err != nil {
		return "", fmt.Errorf("key of lease %s: %w", id, err)
	}
	data := pem.EncodeToMemory(block)
	if public, err = publicHalf(id, data); err != nil {
		return "", err
	}
	if err := replaceFile(path+publicSuffix, []byte(public+"\n")); err != nil {
		return "", err
	}
	return public, replaceFile(path, data)
}

// publicHalf is the authorized_keys line of a private key file's content.
func publicHalf(id box.ID, private []byte) (string, error) {
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		return "", fault.New(fault.Failed, "Release the lease and warm up another one.", "key of lease %s: %w", id, err)
	}
	return keyLine(signer.PublicKey()) + " " + string(id), nil
}

// KeyPath is the file of the lease's private key.
func (s *Store) KeyPath(id box.ID) string { return s.Path("keys", string(id)) }
