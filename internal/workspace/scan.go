package workspace

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"crabbox/internal/fault"
)

// hashers is how many files are read at a time.
const hashers = 2

// file is one file of the tree here.
type file struct {
	path string      // relative to the top, with slashes
	mode fs.FileMode // permissions, and fs.ModeSymlink
	link string      // target of a symbolic link
	sum  [sha256.Size]byte
}

func (f file) isLink() bool { return f.mode&fs.ModeSymlink != 0 }
func (f file) runs() bool   { return f.mode&0o100 != 0 }

// scan returns the files of the working tree by path. What git names and the
// disk does not have is not there; neither is what is no file and no link.
func scan(ctx context.Context, root *os.Root, repo repository) (map[string]file, error) {
	s := scanner{root: root, repo: repo, folders: map[string]bool{}, found: map[string]file{}}
	if err := s.walk(ctx, "."); err != nil {
		return nil, err
	}
	return s.found, s.hash(ctx)
}

type scanner struct {
	root    *os.Root
	repo    repository
	folders map[string]bool // of the paths looked at: which are folders, and no links

	mu    sync.Mutex
	found map[string]file // guarded by mu while hash runs
}

// walk collects what git lists in a folder of the tree, and goes on inside
// submodules and other repositories that it comes upon.
func (s *scanner) walk(ctx context.Context, dir string) error {
	here := filepath.Join(s.repo.top, filepath.FromSlash(dir))
	paths, err := list(ctx, here)
	if err != nil {
		return err
	}
	runs, err := programs(ctx, here)
	if err != nil {
		return err
	}
	for _, name := range paths {
		p := path.Join(dir, name)
		if !inside(p) {
			return fault.New(fault.Failed, "", "git names a file outside the tree: %q", p)
		}
		f, inner, err := s.look(p)
		switch {
		case err != nil:
			return fault.New(fault.Failed, "Make it readable, or have git ignore it.", "looking at the working tree: %w", err)
		case inner:
			if err := s.walk(ctx, p); err != nil {
				return err
			}
		case f.path != "":
			if program, tracked := runs[name]; tracked && !f.isLink() {
				f.mode &^= 0o111
				if program {
					f.mode |= 0o111
				}
			}
			s.found[p] = f
		}
	}
	return nil
}

// look finds out what a path is: a file or link, the top of a repository within
// this one, or, with f.path empty, nothing of ours.
func (s *scanner) look(p string) (f file, inner bool, err error) {
	// Below a link git means what it tracked before the link was made.
	if !s.isFolder(path.Dir(p)) {
		return file{}, false, nil
	}
	info, err := s.root.Lstat(filepath.FromSlash(p))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return file{}, false, nil
	case err != nil:
		return file{}, false, err
	case info.IsDir():
		// Without .git: a submodule that is not checked out, or a folder where
		// a tracked file was.
		_, err := s.root.Lstat(filepath.FromSlash(p + "/.git"))
		return file{}, err == nil, nil
	case info.Mode().IsRegular():
		return file{path: p, mode: info.Mode().Perm()}, false, nil
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := s.root.Readlink(filepath.FromSlash(p))
		return file{path: p, mode: fs.ModeSymlink | 0o777, link: filepath.ToSlash(target)}, false, err
	}
	return file{}, false, nil // a device, a socket, a named pipe
}

// isFolder says whether dir and all above it are folders, and no links.
func (s *scanner) isFolder(dir string) bool {
	if dir == "." {
		return true
	}
	is, known := s.folders[dir]
	if !known {
		info, err := s.root.Lstat(filepath.FromSlash(dir))
		is = err == nil && info.IsDir() && s.isFolder(path.Dir(dir))
		s.folders[dir] = is
	}
	return is
}

// hash fills in the sums of regular files. A file that has gone meanwhile is
// taken out.
func (s *scanner) hash(ctx context.Context) error {
	names := make(chan string, len(s.found))
	for name, f := range s.found {
		if !f.isLink() {
			names <- name
		}
	}
	close(names)
	g, ctx := errgroup.WithContext(ctx)
	for range hashers {
		g.Go(func() error {
			for name := range names {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				sum, err := sumOf(s.root, name)
				if err := s.note(name, sum, err); err != nil {
					return fault.New(fault.Failed, "Make it readable, or have git ignore it.", "reading the working tree: %w", err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (s *scanner) note(name string, sum [sha256.Size]byte, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, fs.ErrNotExist) {
		delete(s.found, name)
		return nil
	}
	f := s.found[name]
	f.sum = sum
	s.found[name] = f
	return err
}

// inside says whether a path stays below the top, and out of git's own folder.
func inside(p string) bool {
	return path.Clean(p) == p && !path.IsAbs(p) && p != "." && p != ".." && !strings.HasPrefix(p, "../") &&
		!strings.EqualFold(path.Base(p), ".git") && !strings.Contains(p, "\x00")
}

func sumOf(root *os.Root, name string) (sum [sha256.Size]byte, err error) {
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
