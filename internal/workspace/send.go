package workspace

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"crabbox/internal/fault"
	"crabbox/internal/session"
)

// send takes files to the box and returns those that changed while they were
// read: what the box has of them is not to be used. A file that has gone
// meanwhile is passed over; its name stays on the list, so that the next Sync
// removes it there.
func (s *syncing) send(ctx context.Context, files []file) (bytes int64, torn []file, err error) {
	if !s.box.tar {
		return s.upload(ctx, files)
	}
	r, w := io.Pipe()
	a := archive{root: s.root, to: w, progress: s.progress}
	packed := make(chan error, 1)
	go func() {
		err := a.pack(files)
		w.CloseWithError(err)
		packed <- err
	}()
	var talk tail
	// o: the files are the remote user's own. m: they are as new as their
	// arrival, by the box's clock, so that make on the box sees what changed.
	code, err := session.Run(ctx, s.client, session.Command{
		Line: "exec tar -xpomf -", Dir: s.place.tree, Stdin: r, Stderr: &talk,
	})
	r.CloseWithError(errStopped)
	packErr := <-packed
	switch {
	case packErr != nil && !errors.Is(packErr, errStopped):
		return a.bytes, nil, packErr
	case err != nil:
		return a.bytes, nil, err
	case code != 0 || packErr != nil:
		return a.bytes, nil, fault.New(fault.Failed, "See whether the box's disk is full and the home folder can be written to.",
			"tar on the box stopped: exit code %d, %s", code, talk.line())
	}
	return a.bytes, a.torn, nil
}

// errStopped is what the packing goroutine sees when tar on the box no longer reads.
var errStopped = errors.New("the box stopped reading")

// archive packs files into a tar stream.
type archive struct {
	root     *os.Root
	to       io.Writer
	progress func(string)

	bytes int64
	torn  []file
}

func (a *archive) pack(files []file) error {
	buffered := bufio.NewWriterSize(a.to, 64<<10)
	out := tar.NewWriter(buffered)
	said := time.Now()
	for i, f := range files {
		if err := a.add(out, f); err != nil {
			return err
		}
		if time.Since(said) > time.Second {
			said = time.Now()
			a.progress(sofar(i+1, len(files), a.bytes))
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// add packs one file. The header promises a size, so a file that shrinks is
// filled up: the archive stays whole, and the file is noted as torn.
func (a *archive) add(out *tar.Writer, f file) error {
	// GNU's format, for long names: every tar of today reads it, while the
	// smallest ones pass over the newer PAX headers.
	header := &tar.Header{Format: tar.FormatGNU, Name: "./" + f.path, Mode: int64(f.mode.Perm()), ModTime: time.Now()}
	if f.isLink() {
		header.Typeflag, header.Linkname = tar.TypeSymlink, f.link
		return out.WriteHeader(header)
	}
	in, before, err := open(a.root, f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	header.Typeflag, header.Size = tar.TypeReg, before.Size()
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(in, header.Size))
	a.bytes += n
	if err != nil {
		return err
	}
	if _, err := io.CopyN(out, zeros{}, header.Size-n); err != nil {
		return err
	}
	if changed(in, before) || n < header.Size {
		a.torn = append(a.torn, f)
	}
	return nil
}

// open opens a regular file of the tree and says how it is now.
func open(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fault.New(fault.Conflict, "Run the command again.", "%q is no longer a file", name)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// changed says whether an open file is no longer as it was.
func changed(f *os.File, before fs.FileInfo) bool {
	after, err := f.Stat()
	return err != nil || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
