package mesh

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// splice carries bytes between a caller and a channel, both ways, until both
// directions have ended. An end of file passes on as one (half-close); the loss
// of the connection reaches the caller as a reset, never as an end of file.
type splice struct {
	local    net.Conn
	remote   ssh.Channel
	requests <-chan *ssh.Request // closed when the box closes the channel
	session  *session
	forward  *forward
}

func (p *splice) run() {
	// The end of the forward, or the loss of the connection under a caller
	// that does not read, makes both directions fail.
	defer afterwards(p.forward.ctx, p.abort)()
	defer afterwards(p.session.ctx, p.abort)()

	closed := make(chan struct{})
	upDone := make(chan struct{})
	go func() {
		defer close(closed)
		ssh.DiscardRequests(p.requests)
	}()
	go func() {
		defer close(upDone)
		p.up()
	}()

	clean := p.down()
	if clean {
		// The box may still listen to what the caller has to say, until it
		// closes the channel altogether.
		select {
		case <-upDone:
		case <-closed:
			p.local.SetReadDeadline(time.Unix(1, 0))
		}
		<-upDone
		clean = !p.session.stream.failed()
	}
	p.remote.Close()
	if clean {
		p.local.Close()
	} else {
		reset(p.local)
	}
	<-upDone
	<-closed
}

// abort makes both directions fail.
func (p *splice) abort() {
	reset(p.local)
	p.remote.Close()
}

// afterwards calls act when ctx ends. The function that it returns calls that
// off, or waits for act when it has begun.
func afterwards(ctx context.Context, act func()) (callOff func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		act()
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// up carries the caller's bytes to the box.
func (p *splice) up() {
	if err := carry(p.remote, p.local, &p.forward.out); err != nil {
		p.remote.Close() // the caller is gone, or the channel is
		return
	}
	p.remote.CloseWrite()
}

// down carries the box's bytes to the caller; it tells whether they ended in an
// orderly way.
func (p *splice) down() bool {
	err := carry(p.local, p.remote, &p.forward.in)
	if err != nil || p.session.stream.failed() {
		reset(p.local) // unblocks up
		return false
	}
	if half, ok := p.local.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite() == nil
	}
	return true
}

// buffers have the size of the largest packet that SSH peers send by default.
var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// carry copies until the end of file (nil) or an error, counting as it goes.
func carry(to io.Writer, from io.Reader, count *atomic.Uint64) error {
	buf := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buf)
	for {
		n, err := from.Read(buf[:])
		if n > 0 {
			w, werr := to.Write(buf[:n])
			count.Add(uint64(w))
			if werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
