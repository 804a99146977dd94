// Package workspace takes the working tree of a git repository to a box: what
// git tracks and what it does not ignore, deletions included. A second time only
// what changed travels. The box needs nothing but a POSIX shell and tar.
//
// It takes nothing back from the box, and the .git folder stays at home.
package workspace

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"crabbox/internal/fault"
)

// Result says what a Sync did.
type Result struct {
	Dir           string // the tree's folder on the box, relative to the home folder
	Work          string // the box's twin of the folder that was asked for: Dir or a folder below
	Sent, Deleted int    // files
	Unchanged     int
	Bytes         int64 // of file content sent
}

// rounds is how often a file that changed while it was read is sent again.
const rounds = 3

// Sync makes the box's copy of the tree around folder equal to it. progress
// gets a short line now and then, from one goroutine at a time; never nil. A
// folder outside any git repository is wrong usage (fault.Usage).
//
// Nothing is believed about the box's copy. A list on the box, next to the
// tree, names the files and folders that came from here; at each Sync the box
// hashes them, and what is missing there or differs is sent again. Files that
// the list does not name (what a build made) stay, unless they stand in the way
// of one of ours. The list is replaced before the tree changes, with the names
// of both the old and the new tree, and once more after: whatever moment a
// crash picks, the next Sync repairs it.
//
//	scan (here) --+
//	              +-- compare -- prepare (list, deletions) -- send -- settle (list)
//	probe (box) --+                                            ^ |
//	                                    changed while read ----+ |
//
// One Sync at a time may work on one tree of one box.
func Sync(ctx context.Context, c *ssh.Client, folder string, progress func(string)) (Result, error) {
	repo, err := find(ctx, folder)
	if err != nil {
		return Result{}, err
	}
	root, err := os.OpenRoot(repo.top)
	if err != nil {
		return Result{}, fault.New(fault.Failed, "", "opening the repository: %w", err)
	}
	defer root.Close()

	s := &syncing{client: c, root: root, place: placeFor(repo.top), progress: progress}
	if err := s.look(ctx, repo); err != nil {
		return Result{}, err
	}
	result, err := s.settle(ctx)
	result.Work = s.twin(repo.below)
	return result, err
}

// place is where a tree lives on the box, relative to the home folder.
type place struct{ tree, list string }

// placeFor names the tree after the repository's folder, in characters that
// need no care anywhere. No name starts with a dot: those are the lists.
func placeFor(top string) place {
	name := make([]rune, 0, 64)
	for _, r := range filepath.Base(top) {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		switch {
		case len(name) == cap(name):
		case letter, len(name) > 0 && (r == '.' || r == '_' || r == '-'):
			name = append(name, r)
		case len(name) > 0 && name[len(name)-1] != '-':
			name = append(name, '-')
		}
	}
	if len(name) == 0 {
		name = []rune("tree")
	}
	return place{tree: "crabbox/" + string(name), list: "crabbox/." + string(name) + ".files"}
}

// syncing is one Sync under way. Fields are written by look and then only read.
type syncing struct {
	client   *ssh.Client
	root     *os.Root
	place    place
	progress func(string)

	want map[string]file // the tree here
	box  copied          // the tree there
}

// look scans the tree here and probes the copy there at the same time.
func (s *syncing) look(ctx context.Context, repo repository) error {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		s.want, err = scan(ctx, s.root, repo)
		return err
	})
	both.Go(func() (err error) {
		s.box, err = probe(ctx, s.client, s.place)
		return err
	})
	return both.Wait()
}

// settle makes the difference disappear.
func (s *syncing) settle(ctx context.Context) (Result, error) {
	todo := compare(s.want, s.box)
	result := Result{Dir: s.place.tree, Unchanged: len(s.want) - len(todo.send)}
	if todo.stale || todo.blocked { // not after a mere edit: that is one round trip less
		if err := s.prepare(ctx, todo); err != nil {
			return result, err
		}
	}
	result.Deleted = len(todo.remove)
	bytes, err := s.sendAll(ctx, todo.send)
	result.Bytes = bytes
	if err != nil {
		return result, err
	}
	result.Sent = len(todo.send)
	if todo.stale && todo.final.digest() != todo.during.digest() {
		return result, shell(ctx, s.client, todo.final.write(s.place), nil)
	}
	return result, nil
}

// sendAll sends files, and those again that changed while they were read.
func (s *syncing) sendAll(ctx context.Context, files []file) (bytes int64, err error) {
	if len(files) > 0 {
		s.progress("sending " + count(len(files), "file"))
	}
	for round := 1; len(files) > 0; round++ {
		if round > rounds {
			return bytes, fault.New(fault.Conflict, "Stop what writes to it, or have git ignore it.",
				"%q changes while it is being read", files[0].path)
		}
		n, torn, err := s.send(ctx, files)
		bytes += n
		if err != nil {
			return bytes, err
		}
		files = torn
	}
	return bytes, nil
}

// twin is the box's folder for a folder below the top; Dir when nothing of it
// was sent.
func (s *syncing) twin(below string) string {
	for name := range s.want {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if dir == below {
				return path.Join(s.place.tree, below)
			}
		}
	}
	return s.place.tree
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// sofar is the progress of sending.
func sofar(done, all int, bytes int64) string {
	return fmt.Sprintf("sent %d of %s, %.1f MB", done, count(all, "file"), float64(bytes)/1e6)
}
