package sshbox_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"crabbox/internal/sshbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything may take that ends by itself.
const patience = 20 * time.Second

// house is a running server with a client's key for it.
type house struct {
	t       *testing.T
	server  *sshbox.Server
	address string
	dir     string // home folder, also of the client's files
	key     ssh.Signer
	keyFile string
	stop    func() // ends the server and waits for it
}

// newHouse starts a server on a loopback port. change may alter it before.
func newHouse(t *testing.T, change ...func(*sshbox.Server)) *house {
	t.Helper()
	dir, err := os.MkdirTemp("", "cbx") // short enough for sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	key, block := newKey(t)
	host, _ := newKey(t)
	h := &house{t: t, dir: dir, key: key, keyFile: filepath.Join(dir, "id")}
	if err := os.WriteFile(h.keyFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	h.server = &sshbox.Server{HostKey: host, Authorized: []ssh.PublicKey{key.PublicKey()}, User: "crab", Home: dir}
	for _, c := range change {
		c(h.server)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = l.Addr().String()
	h.stop = serve(t, h.server, l)
	return h
}

// serve runs s until the returned function, which the end of the test calls too.
func serve(t *testing.T, s *sshbox.Server, l net.Listener) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(patience):
			t.Error("Serve did not return")
		}
	}
	t.Cleanup(stop)
	return stop
}

func newKey(t *testing.T) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

func (h *house) config() *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User:            "crab",
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(h.key)},
		HostKeyCallback: ssh.FixedHostKey(h.server.HostKey.PublicKey()),
		Timeout:         patience,
	}
}

// dial logs in; the connection ends with the test.
func (h *house) dial() *ssh.Client {
	h.t.Helper()
	c, err := ssh.Dial("tcp", h.address, h.config())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	return c
}

// session opens a session on a connection of its own.
func (h *house) session() *ssh.Session {
	h.t.Helper()
	s, err := h.dial().NewSession()
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// output runs line and returns what it wrote; it must end well.
func (h *house) output(line string) string {
	h.t.Helper()
	out, err := h.session().Output(line)
	if err != nil {
		h.t.Fatalf("%s: %v", line, err)
	}
	return string(out)
}

// eventually waits for ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
