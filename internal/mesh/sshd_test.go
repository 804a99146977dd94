package mesh_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/mesh"
	"crabbox/internal/sshdtest"
)

// dialer logs in to a real sshd over TCP, at the address that it has today.
func dialer(t *testing.T, s *sshdtest.Server, address func() string) func(context.Context) (net.Conn, *ssh.ClientConfig, error) {
	t.Helper()
	pem, err := os.ReadFile(s.UserKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	pinned := s.HostKey
	return func(ctx context.Context) (net.Conn, *ssh.ClientConfig, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", address())
		return c, &ssh.ClientConfig{
			User:            s.User,
			Auth:            []ssh.AuthMethod{ssh.PublicKeys(key)},
			HostKeyCallback: ssh.FixedHostKey(pinned),
		}, err
	}
}

// realPeer is a peer behind a real sshd.
func realPeer(t *testing.T, id string, s *sshdtest.Server, targets ...string) mesh.Peer {
	p := peer(id, nil, targets...)
	address := s.Addr
	p.Dial = dialer(t, s, func() string { return address })
	return p
}

// echo serves an echo service on loopback and returns its address.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveEcho(t, l)
	return l.Addr().String()
}

func serveEcho(t *testing.T, l net.Listener) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
}

func TestRealServerCarriesBytes(t *testing.T) {
	server := sshdtest.Start(t, sshdtest.Options{})
	m := start(t, mesh.Options{})
	apply(t, m, realPeer(t, "web", server, echo(t)))
	until(t, m, "usable", forwardsAre("web", mesh.Usable))

	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			sent := make([]byte, 8<<20)
			rand.Read(sent)
			c := dial(t, localOf(m, "web"))
			go func() {
				c.Write(sent)
				c.CloseWrite()
			}()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes back of %d: %v", len(got), len(sent), err)
			}
		})
	}
	wg.Wait()
}

func TestRealServerKilledAndBack(t *testing.T) {
	server := sshdtest.Start(t, sshdtest.Options{})
	m := start(t, mesh.Options{})
	apply(t, m, realPeer(t, "web", server, echo(t)))
	until(t, m, "usable", forwardsAre("web", mesh.Usable))
	address := localOf(m, "web")
	server.Stop()
	until(t, m, "down", forwardsAre("web", mesh.Down))
	server.Restart()
	say(t, dial(t, address), "hello again")
	if s := until(t, m, "usable", forwardsAre("web", mesh.Usable)); link(s, "web").Heals != 1 {
		t.Errorf("heals: %d", link(s, "web").Heals)
	}
}

func TestRealServerForbidsForwarding(t *testing.T) {
	for _, config := range []string{"AllowTcpForwarding no", "PermitOpen 127.0.0.1:1", "DisableForwarding yes"} {
		t.Run(config, func(t *testing.T) {
			server := sshdtest.Start(t, sshdtest.Options{Config: []string{config}})
			m := start(t, mesh.Options{})
			apply(t, m, realPeer(t, "web", server, echo(t)))
			until(t, m, "prohibited", forwardsAre("web", mesh.Prohibited))
		})
	}
}

func TestRealServerWithAnotherHostKey(t *testing.T) {
	server := sshdtest.Start(t, sshdtest.Options{})
	m := start(t, mesh.Options{})
	apply(t, m, realPeer(t, "web", server, echo(t)))
	until(t, m, "usable", forwardsAre("web", mesh.Usable))
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	server.SetHostKey(other)
	server.Restart()
	until(t, m, "refused", linkIs("web", mesh.Refused))
}

func TestRealServerRefusesTheKey(t *testing.T) {
	server := sshdtest.Start(t, sshdtest.Options{})
	p := realPeer(t, "web", server, echo(t))
	address := server.Addr
	strange := sshdtest.Start(t, sshdtest.Options{})
	p.Dial = dialer(t, &sshdtest.Server{User: server.User, UserKeyFile: strange.UserKeyFile, HostKey: server.HostKey},
		func() string { return address })
	m := start(t, mesh.Options{})
	apply(t, m, p)
	s := until(t, m, "refused", linkIs("web", mesh.Refused))
	if !errors.Is(link(s, "web").Err, mesh.ErrRefused) {
		t.Errorf("error %v", link(s, "web").Err)
	}
}

// At MaxStartups a server drops connections at random; members of one gate come
// up all the same.
func TestManyPeersOfOneServer(t *testing.T) {
	server := sshdtest.Start(t, sshdtest.Options{Config: []string{"MaxStartups 4:100:4"}})
	target := echo(t)
	m := start(t, mesh.Options{})
	var peers []mesh.Peer
	for i := range 20 {
		p := realPeer(t, fmt.Sprintf("w%02d", i), server, target)
		p.Gate = server.Addr
		peers = append(peers, p)
	}
	apply(t, m, peers...)
	s := until(t, m, "all usable", func(s mesh.Snapshot) bool {
		for _, p := range peers {
			if !forwardsAre(p.ID, mesh.Usable)(s) {
				return false
			}
		}
		return true
	})
	for _, l := range s.Links {
		if l.Heals != 0 {
			t.Errorf("%s was lost on the way", l.ID)
		}
	}
	if strings.Contains(server.Log(), "drop connection") {
		t.Error("the server had to drop logins")
	}
}
