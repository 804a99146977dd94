package meshtest

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// conn is one end of a connection in memory. It behaves like a TCP connection:
// writes are buffered, deadlines work, and each direction ends by itself.
type conn struct {
	in, out       *wire
	local, remote address
	once          sync.Once
	closed        func() // called once, by the first Close
}

var _ net.Conn = (*conn)(nil)

// address is the name of an end.
type address string

func (address) Network() string  { return "memory" }
func (a address) String() string { return string(a) }

// pipe makes a connection and returns its two ends.
func pipe(caller, callee address, latency time.Duration) (near, far *conn) {
	there, back := newWire(latency), newWire(latency)
	near = &conn{in: back, out: there, local: caller, remote: callee, closed: func() {}}
	far = &conn{in: there, out: back, local: callee, remote: caller, closed: func() {}}
	return near, far
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.failure("read", err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.failure("write", err)
}

// CloseWrite ends our direction; what is under way still arrives.
func (c *conn) CloseWrite() error {
	c.out.hangUp()
	return nil
}

// Close ends both directions. It never waits.
func (c *conn) Close() error {
	c.out.hangUp()
	c.in.stopReading()
	c.once.Do(c.closed)
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.setReadDeadline(t)
	c.out.setWriteDeadline(t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.setReadDeadline(t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.setWriteDeadline(t)
	return nil
}

// failure dresses an error as package net does.
func (c *conn) failure(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if errors.Is(err, os.ErrClosed) {
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: c.remote.Network(), Source: c.local, Addr: c.remote, Err: err}
}
