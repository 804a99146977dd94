package sshbox

import (
	"context"
	"sync"

	"golang.org/x/crypto/ssh"
)

// connection is one client that has logged in. Each channel is a task of its
// own; global requests are answered in order by one task, as RFC 4254 asks.
type connection struct {
	server *Server
	login  *ssh.ServerConn
	life   context.Context // ends with the connection: forwards go
	// deadline ends when the server must: commands are killed. It outlives the
	// connection, since a command may ignore the hang-up.
	deadline context.Context
	tasks    sync.WaitGroup
	reverse  reverseForwards
}

// run serves until the connection has ended and its tasks with it. It calls
// end as soon as the connection is lost.
func (c *connection) run(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request, end func()) {
	c.tasks.Go(func() { c.answer(requests) })
	for channel := range channels {
		c.tasks.Go(func() { c.open(channel) })
	}
	end()
	c.tasks.Wait()
}

func (c *connection) open(channel ssh.NewChannel) {
	switch channel.ChannelType() {
	case "session":
		c.session(channel)
	case "direct-tcpip":
		c.directTCP(channel)
	case "direct-streamlocal@openssh.com":
		c.directSocket(channel)
	default:
		_ = channel.Reject(ssh.UnknownChannelType, "unknown channel type")
	}
}

// answer serves global requests. Whatever is unknown is refused at once, which
// is all that a keepalive wants to hear.
func (c *connection) answer(requests <-chan *ssh.Request) {
	for r := range requests {
		var ok bool
		var reply []byte
		switch r.Type {
		case "tcpip-forward":
			ok, reply = c.listenTCP(r.Payload)
		case "cancel-tcpip-forward":
			ok = c.cancelTCP(r.Payload)
		case "streamlocal-forward@openssh.com":
			ok = c.listenSocket(r.Payload)
		case "cancel-streamlocal-forward@openssh.com":
			ok = c.cancelSocket(r.Payload)
		}
		_ = r.Reply(ok, reply)
	}
}
