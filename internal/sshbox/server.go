// Package sshbox is the SSH server inside a local box, and the test double of a
// real sshd: exec and shell with signals and terminals, sftp, and forwards of
// TCP ports and Unix sockets in both directions.
//
// It is written on golang.org/x/crypto/ssh itself, because exit signals, the
// order of requests and half-closed streams are its business. It serves one
// user and changes no identity: whoever may log in is the user that the process
// runs as. It forwards no agent and no X11, and writes nothing to disk itself.
package sshbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// handshakeLimit is how long a stranger may take to log in.
	handshakeLimit = 10 * time.Second
	// maxStrangers is how many connections of one Serve may be logging in at
	// the same time; further ones are closed at once.
	maxStrangers = 32
	// maxAuthTries is how many keys a client may offer.
	maxAuthTries = 6
)

// ErrProhibited makes a forward fail as "administratively prohibited" when
// Server.Dial or Server.Listen return an error that wraps it. Any other error
// is "connection failed".
var ErrProhibited = errors.New("forwarding is prohibited")

// Server is an SSH server for one user: it runs commands and forwards
// connections as the process that it lives in. The zero value with HostKey and
// Authorized set is ready to use; fields must not change after Serve.
type Server struct {
	HostKey    ssh.Signer
	Authorized []ssh.PublicKey // who may log in, under any user name when User is ""
	User       string
	Home       string   // working folder of commands; "" for the process's
	Env        []string // the environment of commands, KEY=VALUE
	Shell      string   // runs commands with -c; "" for /bin/sh
	// Dial opens forwarded connections; nil for net.Dialer. network is "tcp" or "unix".
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Listen opens the listeners of reverse forwards; nil for net.ListenConfig.
	// network is "tcp" (then address is on loopback) or "unix".
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// NoForwarding refuses every forward as administratively prohibited.
	NoForwarding bool
	// Reaper starts the commands where orphans are collected by this process;
	// nil elsewhere.
	Reaper *Reaper
	Log    *slog.Logger // nil: nothing is logged
}

// Serve accepts connections from l until ctx ends or l fails, and closes l. It
// returns after every connection, command and goroutine that it started has
// ended; commands that are still running are killed. What they have left in the
// background stays, as with any sshd. The answer is nil when ctx was the reason.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer func() { _ = l.Close() }()

	strangers := make(chan struct{}, maxStrangers)
	for {
		stream, err := accept(ctx, l)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept: %w", err)
		}
		select {
		case strangers <- struct{}{}:
		default:
			s.log().Warn("connection refused: too many are logging in", "peer", stream.RemoteAddr().String())
			_ = stream.Close()
			continue
		}
		connections.Go(func() {
			settled := sync.OnceFunc(func() { <-strangers })
			defer settled()
			if err := s.serve(ctx, stream, settled); err != nil {
				s.log().Info("connection ended", "peer", stream.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// ServeConn serves one connection until it ends or ctx does, and closes it. It
// returns after the connection's commands have ended as well: they are hung up
// when the connection is lost, and killed when ctx ends. The answer is nil
// unless nobody logged in.
func (s *Server) ServeConn(ctx context.Context, c net.Conn) error {
	return s.serve(ctx, c, func() {})
}

// serve is ServeConn that calls settled once the client is no stranger any more.
func (s *Server) serve(ctx context.Context, stream net.Conn, settled func()) error {
	defer func() { _ = stream.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = stream.Close() })
	defer stop()

	login, channels, requests, err := s.handshake(stream)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	settled()
	life, end := context.WithCancel(ctx)
	defer end()
	c := &connection{server: s, login: login, life: life, deadline: ctx}
	c.run(channels, requests, end)
	return nil
}

// handshake logs the client in. It works by a timer and not by deadlines, since
// not every stream has these.
func (s *Server) handshake(stream net.Conn) (*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	config := &ssh.ServerConfig{
		ServerVersion:     "SSH-2.0-crabbox",
		MaxAuthTries:      maxAuthTries,
		PublicKeyCallback: s.authorize,
	}
	config.AddHostKey(s.HostKey)
	limit := time.AfterFunc(handshakeLimit, func() { _ = stream.Close() })
	login, channels, requests, err := ssh.NewServerConn(stream, config)
	if !limit.Stop() && err == nil {
		err = context.DeadlineExceeded // the stream was closed as the last packet arrived
	}
	return login, channels, requests, err
}

func (s *Server) authorize(client ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if s.User != "" && client.User() != s.User {
		return nil, fmt.Errorf("no user %q", client.User())
	}
	offered := string(key.Marshal())
	for _, known := range s.Authorized {
		if string(known.Marshal()) == offered {
			return &ssh.Permissions{}, nil
		}
	}
	return nil, fmt.Errorf("key %s is not authorized", ssh.FingerprintSHA256(key))
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

// accept is l.Accept that waits while the system is short of something.
func accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	const longest = time.Second
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, longest) {
		c, err := l.Accept()
		if err == nil || !passing(err) {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// passing tells whether err is a shortage that may be over soon.
func passing(err error) bool {
	for _, shortage := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, shortage) {
			return true
		}
	}
	return false
}
