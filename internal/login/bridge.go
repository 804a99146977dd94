package login

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// bridge is a net.Conn with working deadlines over something that has none: an
// SSH channel, a child's stdin and stdout. Two goroutines copy between the
// something and an in-memory pipe; Close ends both and waits for them.
type bridge struct {
	net.Conn // the near end of the pipe
	cut      func()
	reason   func() error // says why the other side ended; may be nil
	closed   atomic.Bool  // by us
	copiers  sync.WaitGroup
	once     sync.Once
}

// newBridge starts copying. cut must make pending reads and writes of r and w
// return; it is called once, by Close.
func newBridge(r io.Reader, w io.WriteCloser, cut func(), reason func() error) *bridge {
	near, far := net.Pipe()
	b := &bridge{Conn: near, cut: cut, reason: reason}
	b.copiers.Go(func() {
		io.Copy(far, r)
		far.Close() // the reader sees the end; a writer sees a broken pipe
	})
	b.copiers.Go(func() {
		io.Copy(w, far)
		w.Close()
		far.Close()
	})
	return b
}

func (b *bridge) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	return n, b.explain(err)
}

func (b *bridge) Write(p []byte) (int, error) {
	n, err := b.Conn.Write(p)
	return n, b.explain(err)
}

// explain replaces the pipe's own word for the end by why it came.
func (b *bridge) explain(err error) error {
	switch {
	case err != io.EOF && err != io.ErrClosedPipe:
		return err
	case b.closed.Load():
		return net.ErrClosed
	case b.reason != nil:
		return b.reason()
	case err == io.ErrClosedPipe: // a write; callers know it as a lost connection
		return io.ErrUnexpectedEOF
	}
	return err
}

func (b *bridge) Close() error {
	b.once.Do(func() {
		b.closed.Store(true)
		b.Conn.Close()
		b.cut()
		b.copiers.Wait()
	})
	return nil
}
