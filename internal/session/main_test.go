//go:build unix

package session_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"crabbox/internal/sshbox"
	"crabbox/internal/sshdtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(helperAddr) != "" {
		os.Exit(help())
	}
	goleak.VerifyTestMain(m)
}

// host is an SSH server that a test runs commands on.
type host struct {
	name, addr, user, key string
}

// onEachHost runs a test against OpenSSH's server and against our own.
func onEachHost(t *testing.T, test func(t *testing.T, h host)) {
	t.Run("openssh", func(t *testing.T) {
		s := sshdtest.Start(t, sshdtest.Options{Config: []string{"LogLevel INFO"}}) // its debug lines reach a command's stderr
		test(t, host{"openssh", s.Addr, s.User, s.UserKeyFile})
	})
	t.Run("sshbox", func(t *testing.T) { test(t, startBox(t)) })
}

func startBox(t *testing.T) host {
	t.Helper()
	dir := t.TempDir()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hostKey, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "key")
	server := &sshbox.Server{
		HostKey: hostKey, Authorized: []ssh.PublicKey{sshdtest.WriteKey(t, key, nil)},
		Home: dir, Env: []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("sshbox: %v", err)
		}
	})
	return host{"sshbox", l.Addr().String(), "me", key}
}

// connect logs in; the connection ends with the test.
func (h host) connect(t *testing.T) *ssh.Client {
	t.Helper()
	c, err := dial(h.addr, h.user, h.key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func dial(addr, user, keyFile string) (*ssh.Client, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, err
	}
	return ssh.Dial("tcp", addr, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
}
