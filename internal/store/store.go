// Package store is what crabbox remembers on disk, under ~/.crabbox or
// CRABBOX_HOME: leases, their keys, pinned host keys, members' addresses and
// the crews that are wanted connected.
//
// Every file is written to a temporary name, synced and renamed, with mode 0600
// in folders of mode 0700, so a reader sees the old or the new content and never
// half of it. Writers that read first hold a lock (see Lock). A file that cannot
// be read is reported, set aside as NAME.broken, and costs only its own content.
//
// It talks to no provider and knows no commands.
package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"crabbox/internal/fault"
)

// Store is one CRABBOX_HOME. It may be used by several goroutines and processes.
type Store struct{ root string }

const homeRemedy = "Set CRABBOX_HOME to a folder of your own that can be written to."

// Open makes the folder when it is missing and checks that it can be used: it
// must be the person's own, writable, and short enough for the agent's socket.
func Open(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fault.New(fault.Usage, homeRemedy, "state folder %q: %w", root, err)
	}
	if err := checkSocketPaths(root); err != nil {
		return nil, err
	}
	if err := claimFolder(root); err != nil {
		return nil, err
	}
	s := &Store{root: root}
	s.sweep()
	return s, nil
}

// maxSocketPath is the longest path a Unix socket can have on this system.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// checkSocketPaths makes sure that the sockets below root can be bound. It
// looks at the longest one that is needed for certain, since a folder that is
// too long by a little would otherwise fail much later and more obscurely.
func checkSocketPaths(root string) error {
	for _, socket := range []string{"agent.sock", filepath.Join("providers", "local", "cbx_123456789abc", "ssh.sock")} {
		path := filepath.Join(root, socket)
		if len(path) > maxSocketPath {
			return fault.New(fault.Usage, "Set CRABBOX_HOME to a shorter folder, for instance one below the temporary folder.",
				"the state folder's path is too long: a socket below it would need %d bytes, this system allows %d: %s", len(path), maxSocketPath, path)
		}
	}
	return nil
}

// claimFolder makes sure that root is a folder of ours that nobody else can
// look into and that can be written to.
func claimFolder(root string) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		kind := fault.Failed
		if errors.Is(err, syscall.ENOTDIR) {
			kind = fault.Usage
		}
		return fault.New(kind, homeRemedy, "make the state folder: %w", err)
	}
	info, err := os.Stat(root)
	switch {
	case err != nil:
		return fault.New(fault.Failed, homeRemedy, "state folder: %w", err)
	case ownedByOther(info):
		return fault.New(fault.NotOurs, "Run crabbox as that user, or set CRABBOX_HOME to a folder of your own.",
			"state folder %s belongs to another user", root)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(root, 0o700); err != nil {
			return fault.New(fault.Failed, homeRemedy, "close the state folder to others: %w", err)
		}
	}
	if err := checkWritable(root); err != nil {
		return fault.New(fault.Failed, homeRemedy, "state folder %s cannot be written to: %w", root, err)
	}
	return nil
}

// sweep removes the temporary files of writers that were killed. Those of
// writers at work are younger than an hour.
func (s *Store) sweep() {
	tree := os.DirFS(s.root)
	for _, dir := range []string{"", "leases/", "keys/", "wanted/", "crew/", "crew/*/"} {
		names, _ := fs.Glob(tree, dir+".*"+tempSuffix)
		for _, name := range names {
			if info, err := fs.Stat(tree, name); err == nil && time.Since(info.ModTime()) > time.Hour {
				os.Remove(s.Path(filepath.FromSlash(name)))
			}
		}
	}
}

// Path joins elem to the store's root.
func (s *Store) Path(elem ...string) string {
	return filepath.Join(append([]string{s.root}, elem...)...)
}

// CrewDir is the folder of a crew's files (hosts, env, ...); it may not exist.
// The name must be a valid one.
func (s *Store) CrewDir(crew string) string { return s.Path("crew", crew) }

// inside is Path for names that come from callers: it refuses those that lead
// out of the root.
func (s *Store) inside(elem ...string) (string, error) {
	name := strings.Join(elem, "/")
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", fault.New(fault.Usage, "", "%q is not a file below the state folder", name)
	}
	return s.Path(filepath.FromSlash(name)), nil
}
