package sshdtest

import (
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func dial(t *testing.T, s *Server) *ssh.Client {
	t.Helper()
	pem, err := os.ReadFile(s.UserKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	client, err := ssh.Dial("tcp", s.Addr, &ssh.ClientConfig{
		User:            s.User,
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: ssh.FixedHostKey(s.HostKey),
		Timeout:         10 * time.Second,
	})
	if err != nil {
		t.Fatalf("%v; log:\n%s", err, s.Log())
	}
	return client
}

func TestServerLetsItsUserIn(t *testing.T) {
	s := Start(t, Options{})
	client := dial(t, s)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := session.Output("echo hello")
	if err != nil || string(out) != "hello\n" {
		t.Fatalf("got %q, %v", out, err)
	}
	if !s.LogContains("Accepted publickey for " + s.User) {
		t.Fatalf("the login is not in the log:\n%s", s.Log())
	}
}

func TestStopEndsSessions(t *testing.T) {
	s := Start(t, Options{})
	client := dial(t, s)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("sleep 600"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- client.Wait() }()
	s.Stop()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the session outlived its server")
	}
	if conn, err := net.Dial("tcp", s.Addr); err == nil {
		conn.Close()
		t.Fatal("the port still accepts")
	}
}

func TestRestartKeepsAddressAndChangesKey(t *testing.T) {
	s := Start(t, Options{Config: []string{"AllowTcpForwarding no"}})
	addr, key := s.Addr, s.HostKey
	s.SetHostKey(nil)
	s.Restart()
	if s.Addr != addr {
		t.Fatalf("moved from %s to %s", addr, s.Addr)
	}
	if string(key.Marshal()) == string(s.HostKey.Marshal()) {
		t.Fatal("the host key is the old one")
	}
	client := dial(t, s)
	defer client.Close()
	if _, err := client.Dial("tcp", addr); err == nil {
		t.Fatal("forwarding works although the configuration forbids it")
	}
}
