package workspace

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/pkg/sftp"

	"crabbox/internal/fault"
	"crabbox/internal/session"
)

// upload is send for a box without tar: file by file over SFTP.
func (s *syncing) upload(ctx context.Context, files []file) (bytes int64, torn []file, err error) {
	err = session.Within(ctx, s.client, func() error {
		box, err := sftp.NewClient(s.client)
		if err != nil {
			return fault.New(fault.Unsupported, "Install tar on the box, or leave the tree at home with --no-sync.",
				"the box has no tar, and its SSH server offers no SFTP: %w", err)
		}
		defer box.Close()
		said := time.Now()
		for i, f := range files {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			n, whole, err := s.put(box, f)
			bytes += n
			switch {
			case errors.Is(err, errGone):
			case err != nil:
				return fault.New(fault.Failed, "See whether the box's disk is full and the home folder can be written to.",
					"sending %q over SFTP: %w", f.path, err)
			case !whole:
				torn = append(torn, f)
			}
			if time.Since(said) > time.Second {
				said = time.Now()
				s.progress(sofar(i+1, len(files), bytes))
			}
		}
		return nil
	})
	return bytes, torn, err
}

// errGone says that a file here has gone since it was scanned.
var errGone = errors.New("the file has gone")

// put replaces one file on the box; whole says that it did not change meanwhile.
func (s *syncing) put(box *sftp.Client, f file) (n int64, whole bool, err error) {
	to := path.Join(s.place.tree, f.path)
	if err := box.MkdirAll(path.Dir(to)); err != nil {
		return 0, false, err
	}
	// A new file in place of the old one, as tar makes it: the old one may be
	// running, read-only, or a link.
	if err := box.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, false, err
	}
	if f.isLink() {
		return 0, true, box.Symlink(f.link, to)
	}
	in, before, err := open(s.root, f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, errGone
	}
	if err != nil {
		return 0, false, err
	}
	defer in.Close()
	out, err := box.Create(to)
	if err != nil {
		return 0, false, err
	}
	n, err = io.Copy(out, in)
	return n, n == before.Size() && !changed(in, before), errors.Join(err, out.Chmod(f.mode.Perm()), out.Close())
}
