package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

// Lease is our record of the right to one box.
type Lease struct {
	Version int     `json:"version"` // LeaseVersion
	Box     box.Box `json:"box"`     // as last seen; the provider has the truth
	Nonce   string  `json:"nonce"`
	// Options are the lease's own -o settings, without secrets.
	Options map[string]string `json:"options,omitempty"`
	// Updated is when the provider last confirmed the box.
	Updated time.Time `json:"updated"`
}

// LeaseVersion is the format that this program writes.
const LeaseVersion = 1

const (
	leasesFolder = "leases" // LEASE.json; also the lock that guards them
	recordSuffix = ".json"
)

// SaveLease adds or replaces a lease. To change one that exists, use
// UpdateLease: it cannot bring back what was released meanwhile.
func (s *Store) SaveLease(l Lease) error {
	unlock, err := s.lockBriefly(leasesFolder)
	if err != nil {
		return err
	}
	defer unlock()
	return s.writeLease(l)
}

// UpdateLease changes a lease that exists and returns it as written;
// fault.NotFound when it was released meanwhile. change runs under the lock of
// all leases and must not wait for anything.
func (s *Store) UpdateLease(id box.ID, change func(*Lease)) (Lease, error) {
	unlock, err := s.lockBriefly(leasesFolder)
	if err != nil {
		return Lease{}, err
	}
	defer unlock()
	l, err := s.Lease(id)
	if err != nil {
		return Lease{}, err
	}
	change(&l)
	l.Box.ID = id
	return l, s.writeLease(l)
}

func (s *Store) writeLease(l Lease) error {
	if _, err := box.ParseID(string(l.Box.ID)); err != nil {
		return err
	}
	l.Version = LeaseVersion
	data, err := marshal(l)
	if err != nil {
		return fmt.Errorf("lease %s: %w", l.Box.ID, err)
	}
	return replaceFile(s.leasePath(l.Box.ID), data)
}

// Lease returns one lease; fault.NotFound.
func (s *Store) Lease(id box.ID) (Lease, error) {
	if _, err := box.ParseID(string(id)); err != nil {
		return Lease{}, err
	}
	path := s.leasePath(id)
	l, err := readRecord(path, string(id), decodeLease)
	if errors.Is(err, fs.ErrNotExist) {
		return Lease{}, fault.New(fault.NotFound, "crabbox list shows the leases.", "there is no lease %s", id)
	}
	if err != nil {
		return Lease{}, fault.New(fault.Failed, "The record is "+path+".", "lease %s cannot be read: %w", id, err)
	}
	return l, nil
}

// Leases returns all leases, oldest first, and what could not be read.
func (s *Store) Leases() ([]Lease, []Broken, error) {
	leases, broken, err := readFolder(s, leasesFolder, decodeLease)
	slices.SortFunc(leases, func(a, b Lease) int {
		if c := a.Box.Created.Compare(b.Box.Created); c != 0 {
			return c
		}
		return strings.Compare(string(a.Box.ID), string(b.Box.ID))
	})
	return leases, broken, err
}

// decodeLease believes nothing: the names in it end up in paths, host names
// and shell lines.
func decodeLease(name string, data []byte) (Lease, error) {
	var head struct{ Version int }
	if err := json.Unmarshal(data, &head); err != nil {
		return Lease{}, err
	}
	if head.Version > LeaseVersion {
		return Lease{}, fmt.Errorf("format %d: %w", head.Version, errNewer)
	}
	var l Lease
	if err := json.Unmarshal(data, &l); err != nil {
		return Lease{}, err
	}
	switch {
	case l.Version < 1:
		return Lease{}, errors.New("no version")
	case string(l.Box.ID) != name:
		return Lease{}, fmt.Errorf("holds lease %q", l.Box.ID)
	case l.Box.Provider == "":
		return Lease{}, errors.New("no provider")
	}
	if _, err := box.ParseID(name); err != nil {
		return Lease{}, err
	}
	if err := box.CheckName("slug", l.Box.Slug); err != nil {
		return Lease{}, err
	}
	for what, value := range map[string]string{"crew": l.Box.Crew, "role": l.Box.Role} {
		if value == "" {
			continue
		}
		if err := box.CheckName(what, value); err != nil {
			return Lease{}, err
		}
	}
	return l, nil
}

// LeasesStamp changes whenever a lease is added, changed or removed; cheap
// enough to be asked every second.
func (s *Store) LeasesStamp() string {
	entries, _ := os.ReadDir(s.Path(leasesFolder)) // no folder: no leases
	hash := sha256.New()
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), recordSuffix) || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		if info, err := entry.Info(); err == nil {
			fmt.Fprintf(hash, "%s %d %d\n", entry.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return hex.EncodeToString(hash.Sum(nil)[:12])
}

// RemoveLease forgets a lease: its record, its keys and its pinned host key.
// The record goes last, so that what fails or crashes between can be tried again.
func (s *Store) RemoveLease(id box.ID) error {
	if _, err := box.ParseID(string(id)); err != nil {
		return err
	}
	unlock, err := s.lockBriefly(leasesFolder)
	if err != nil {
		return err
	}
	defer unlock()
	for _, path := range []string{s.KeyPath(id), s.KeyPath(id) + publicSuffix} {
		if err := removeFile(path); err != nil {
			return err
		}
	}
	if err := s.Unpin(string(id)); err != nil {
		return err
	}
	if err := removeFile(s.leasePath(id)); err != nil {
		return err
	}
	// Whoever waits for this lock will find that the lease is gone.
	os.Remove(s.Path(leaseLock(id) + ".lock"))
	return nil
}

func (s *Store) leasePath(id box.ID) string { return s.Path(leasesFolder, string(id)+recordSuffix) }
