package sshbox

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"
)

// reverseForwards are the listeners that a client asked for, by what it calls
// them, until it cancels them. They end with the connection (acceptReverse).
// mu guards open.
type reverseForwards struct {
	mu   sync.Mutex
	open map[string]net.Listener
}

func (r *reverseForwards) add(name string, l net.Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = map[string]net.Listener{}
	}
	r.open[name] = l
}

// close ends the listener of that name and tells whether there was one.
// Connections that it has accepted live on.
func (r *reverseForwards) close(name string) bool {
	r.mu.Lock()
	l := r.open[name]
	delete(r.open, name)
	r.mu.Unlock()
	if l == nil {
		return false
	}
	_ = l.Close()
	return true
}

// tcpAddress is the payload of tcpip-forward and cancel-tcpip-forward.
type tcpAddress struct {
	Host string
	Port uint32
}

func (a tcpAddress) String() string { return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port))) }

// listenTCP serves tcpip-forward. A port of 0 is answered with the one taken.
func (c *connection) listenTCP(payload []byte) (ok bool, reply []byte) {
	var asked tcpAddress
	if err := ssh.Unmarshal(payload, &asked); err != nil || asked.Port > 65535 {
		return false, nil
	}
	l, err := c.listen("tcp", net.JoinHostPort(loopback(asked.Host), strconv.Itoa(int(asked.Port))))
	if err != nil {
		return false, nil
	}
	if asked.Port == 0 {
		taken, err := netip.ParseAddrPort(l.Addr().String())
		if err != nil {
			_ = l.Close()
			return false, nil
		}
		asked.Port = uint32(taken.Port())
		reply = ssh.Marshal(struct{ Port uint32 }{asked.Port})
	}
	c.reverse.add(asked.String(), l)
	c.tasks.Go(func() {
		c.acceptReverse(l, func(caller net.Conn) (string, []byte) {
			origin, _ := netip.ParseAddrPort(caller.RemoteAddr().String())
			return "forwarded-tcpip", ssh.Marshal(struct {
				Host       string // as asked, since that is how clients tell their forwards apart
				Port       uint32
				OriginHost string
				OriginPort uint32
			}{asked.Host, asked.Port, origin.Addr().String(), uint32(origin.Port())})
		})
	})
	return true, reply
}

// loopback is where a reverse forward for host listens. A box has nothing to
// offer to other machines, so everything but a loopback address becomes the
// ordinary one, as with OpenSSH's GatewayPorts=no.
func loopback(host string) string {
	switch addr, err := netip.ParseAddr(host); {
	case err == nil && addr.IsLoopback():
		return host
	case err == nil && addr.Is6() && !addr.Is4In6():
		return "::1"
	default:
		return "127.0.0.1"
	}
}

func (c *connection) cancelTCP(payload []byte) bool {
	var asked tcpAddress
	return ssh.Unmarshal(payload, &asked) == nil && c.reverse.close(asked.String())
}

// listenSocket serves streamlocal-forward@openssh.com. Like OpenSSH with its
// default StreamLocalBindUnlink=no it leaves an existing file alone, and only
// the box's user may connect.
func (c *connection) listenSocket(payload []byte) bool {
	var asked struct{ Path string }
	if err := ssh.Unmarshal(payload, &asked); err != nil || asked.Path == "" {
		return false
	}
	path := c.server.fromHome(asked.Path)
	l, err := c.listen("unix", path)
	if err != nil {
		return false
	}
	if c.server.Listen == nil {
		if err := os.Chmod(path, 0o600); err != nil {
			_ = l.Close()
			return false
		}
	}
	c.reverse.add(socketName(asked.Path), l)
	c.tasks.Go(func() {
		c.acceptReverse(l, func(net.Conn) (string, []byte) {
			return "forwarded-streamlocal@openssh.com", ssh.Marshal(struct{ Path, Reserved string }{asked.Path, ""})
		})
	})
	return true
}

func (c *connection) cancelSocket(payload []byte) bool {
	var asked struct{ Path string }
	return ssh.Unmarshal(payload, &asked) == nil && c.reverse.close(socketName(asked.Path))
}

// socketName keeps paths and TCP addresses apart in reverseForwards.
func socketName(path string) string { return "unix:" + path }

func (c *connection) listen(network, address string) (net.Listener, error) {
	l, err := c.tryListen(network, address)
	if err != nil {
		c.server.log().Info("reverse forward refused", "address", address, "error", err)
	}
	return l, err
}

func (c *connection) tryListen(network, address string) (net.Listener, error) {
	if c.server.NoForwarding {
		return nil, fmt.Errorf("%s: %w", address, ErrProhibited)
	}
	if c.server.Listen != nil {
		return c.server.Listen(c.life, network, address)
	}
	var config net.ListenConfig
	return config.Listen(c.life, network, address)
}

// acceptReverse hands the callers of l to the client, each over a channel that
// announce describes, until l or the connection is closed.
func (c *connection) acceptReverse(l net.Listener, announce func(net.Conn) (kind string, payload []byte)) {
	stop := context.AfterFunc(c.life, func() { _ = l.Close() })
	defer stop()
	for {
		caller, err := accept(c.life, l)
		if err != nil {
			return
		}
		c.tasks.Go(func() {
			kind, payload := announce(caller)
			channel, requests, err := c.login.OpenChannel(kind, payload)
			if err != nil {
				_ = caller.Close()
				return
			}
			c.splice(channel, requests, caller)
		})
	}
}
