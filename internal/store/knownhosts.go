package store

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/fault"
)

// knownHosts is one file in OpenSSH's format, a line "NAME TYPE BASE64" for each
// pinned key; also the lock that guards it. Names are lease ids mostly.
const knownHosts = "known_hosts"

// Pinned returns the host keys pinned for name; none when it is unknown. A line
// for name that cannot be read is an error: taken for "unknown", it would let
// any key in.
func (s *Store) Pinned(name string) ([]ssh.PublicKey, error) {
	lines, err := s.pins()
	if err != nil {
		return nil, err
	}
	var keys []ssh.PublicKey
	for _, line := range lines {
		pinned, rest, _ := strings.Cut(line, " ")
		if pinned != name {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(rest))
		if err != nil {
			return nil, fault.New(fault.Failed, "Remove that line once you know the host's key; it is then pinned at the next contact.",
				"the line for %s in %s cannot be read: %w", name, s.Path(knownHosts), err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Pin remembers a host key for name. The first one is final: another key for
// the same name is a fault of kind Conflict, and the same key changes nothing.
func (s *Store) Pin(name string, key ssh.PublicKey) error { return s.PinAll(name, key) }

// PinAll is Pin for a host with several keys, known before the first contact.
func (s *Store) PinAll(name string, keys ...ssh.PublicKey) error {
	if !pinnable(name) {
		return fault.New(fault.Usage, "", "a host key cannot be pinned for %q", name)
	}
	unlock, err := s.lockBriefly(knownHosts)
	if err != nil {
		return err
	}
	defer unlock()
	pinned, err := s.Pinned(name)
	if err != nil {
		return err
	}
	if len(pinned) > 0 {
		for _, key := range keys {
			if !containsKey(pinned, key) {
				return fault.New(fault.Conflict, "If the host is meant to have a new key, release the lease and warm up again.",
					"another host key is pinned for %s already", name)
			}
		}
		return nil
	}
	lines, err := s.pins()
	if err != nil {
		return err
	}
	for _, key := range keys {
		lines = append(lines, name+" "+keyLine(key))
	}
	return s.writePins(lines)
}

// Unpin forgets the host keys pinned for name.
func (s *Store) Unpin(name string) error {
	unlock, err := s.lockBriefly(knownHosts)
	if err != nil {
		return err
	}
	defer unlock()
	lines, err := s.pins()
	if err != nil {
		return err
	}
	var kept []string
	for _, line := range lines {
		if pinned, _, _ := strings.Cut(line, " "); pinned != name {
			kept = append(kept, line)
		}
	}
	if len(kept) == len(lines) {
		return nil
	}
	return s.writePins(kept)
}

func (s *Store) pins() ([]string, error) {
	data, err := os.ReadFile(s.Path(knownHosts))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.New(fault.Failed, homeRemedy, "pinned host keys: %w", err)
	}
	var lines []string
	for line := range strings.SplitSeq(string(data), "\n") {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

func (s *Store) writePins(lines []string) error {
	var b bytes.Buffer
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	return replaceFile(s.Path(knownHosts), b.Bytes())
}

// pinnable refuses names that would mean something else in a known_hosts file:
// several hosts, patterns, markers, hashes, comments.
func pinnable(name string) bool {
	if name == "" || strings.ContainsAny(name, ",*?!|@#\"\\") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' })
}

func containsKey(keys []ssh.PublicKey, key ssh.PublicKey) bool {
	for _, k := range keys {
		if bytes.Equal(k.Marshal(), key.Marshal()) {
			return true
		}
	}
	return false
}

// keyLine is "TYPE BASE64".
func keyLine(key ssh.PublicKey) string {
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(key)), "\n")
}
