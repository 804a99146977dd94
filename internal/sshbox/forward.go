package sshbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// dialLimit is how long a target may take to accept a forwarded connection.
	dialLimit = 30 * time.Second
	// lastWords is how long data that is under way may take to reach a target
	// whose channel was closed.
	lastWords = 10 * time.Second
)

// directTCP serves a channel of RFC 4254 section 7.2.
func (c *connection) directTCP(channel ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(channel.ExtraData(), &to); err != nil || to.Port > 65535 {
		_ = channel.Reject(ssh.ConnectionFailed, "malformed target")
		return
	}
	c.direct(channel, "tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
}

// directSocket serves a channel to a Unix socket (OpenSSH's PROTOCOL, section 2.4).
func (c *connection) directSocket(channel ssh.NewChannel) {
	var to struct {
		Path      string
		Reserved  string
		Reserved2 uint32
	}
	if err := ssh.Unmarshal(channel.ExtraData(), &to); err != nil || to.Path == "" {
		_ = channel.Reject(ssh.ConnectionFailed, "malformed target")
		return
	}
	c.direct(channel, "unix", c.server.fromHome(to.Path))
}

func (c *connection) direct(channel ssh.NewChannel, network, address string) {
	target, err := c.dial(network, address)
	if err != nil {
		c.server.log().Debug("forward refused", "target", address, "error", err)
		reason := ssh.ConnectionFailed
		if errors.Is(err, ErrProhibited) {
			reason = ssh.Prohibited
		}
		_ = channel.Reject(reason, err.Error())
		return
	}
	stream, requests, err := channel.Accept()
	if err != nil {
		_ = target.Close()
		return
	}
	c.splice(stream, requests, target)
}

func (c *connection) dial(network, address string) (net.Conn, error) {
	if c.server.NoForwarding {
		return nil, fmt.Errorf("%s: %w", address, ErrProhibited)
	}
	ctx, cancel := context.WithTimeout(c.life, dialLimit)
	defer cancel()
	if c.server.Dial != nil {
		return c.server.Dial(ctx, network, address)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// fromHome resolves a path of the client as a shell in the home folder would.
func (s *Server) fromHome(path string) string {
	if filepath.IsAbs(path) || s.Home == "" {
		return path
	}
	return filepath.Join(s.Home, path)
}

// splice carries bytes between a channel and a local connection until both
// directions have ended, and closes both. The end of one direction is passed on
// and leaves the other one alone.
//
// The channel's requests end when the client has closed it for good (a mere
// end-of-file does not end them); the target then gets what is still under way.
func (c *connection) splice(channel ssh.Channel, requests <-chan *ssh.Request, target net.Conn) {
	stop := context.AfterFunc(c.life, func() { _ = target.Close() })
	defer stop()
	sent := make(chan struct{})
	c.tasks.Go(func() {
		defer close(sent)
		if _, err := io.Copy(target, channel); err == nil {
			closeWrite(target)
		}
		// After a failed write the target may still have words for us: the
		// other direction ends by itself.
	})
	c.tasks.Go(func() {
		ssh.DiscardRequests(requests)
		_ = target.SetDeadline(time.Now().Add(lastWords))
		<-sent
		_ = target.Close()
	})
	if _, err := io.Copy(channel, target); err == nil && channel.CloseWrite() == nil {
		<-sent
	}
	_ = channel.Close()
	_ = target.Close()
	<-sent
}

// closeWrite ends our direction of c; a connection that cannot do that by
// halves is left to its end.
func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
