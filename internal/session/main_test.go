//go:build unix

package session_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"crabbox/internal/sshbox/sshboxtest"
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
	addr, key := sshboxtest.Start(t, t.TempDir(), os.Getenv("PATH"))
	return host{"sshbox", addr, "me", key}
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
