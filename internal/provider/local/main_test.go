//go:build linux

package local

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/nstest"
	"crabbox/internal/provider"
)

// TestMain lets this binary play the box.
func TestMain(m *testing.M) {
	if code, handled := Main(os.Args[1:]); handled {
		os.Exit(code)
	}
	if len(os.Args) > 2 && os.Args[1] == helperWord {
		os.Exit(helper(os.Args[2], os.Args[3:]))
	}
	os.Exit(m.Run())
}

// testContext ends with the test, or after a limit that no healthy test meets.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// settings are those of an operator whose home is a folder of the test.
func settings(t *testing.T) provider.Settings {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.MkdirTemp("", "cbx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	crab := filepath.Join(home, ".crabbox")
	env := map[string]string{"CRABBOX_HOME": crab, "HOME": home, "PATH": os.Getenv("PATH"),
		"GORACE": "atexit_sleep_ms=0"} // a box that is not in a hurry to end takes a second each time
	return provider.Settings{
		Options: provider.Options{}, Dir: filepath.Join(crab, "providers", "local"), UserHome: home,
		Executable: executable, Getenv: func(k string) string { return env[k] }, Log: slog.New(slog.DiscardHandler),
	}
}

func newProvider(t *testing.T, s provider.Settings) *Provider {
	t.Helper()
	p, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newKey draws a key pair: the signer, and the private half as OpenSSH writes it.
func newKey(t *testing.T) (ssh.Signer, string) {
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
	return signer, string(pem.EncodeToMemory(block))
}

// order is a request with the key that it lets in.
type order struct {
	provider.Request
	user ssh.Signer
}

// newOrder asks for a box; one in namespaces needs a system that has them.
func newOrder(t *testing.T, slug string, options provider.Options) order {
	t.Helper()
	if options[optIsolation] == isolationNamespace {
		nstest.Need(t)
	}
	user, _ := newKey(t)
	_, host := newKey(t)
	now := time.Now().Truncate(time.Second).UTC()
	return order{user: user, Request: provider.Request{
		Box:            box.Box{ID: box.NewID(), Slug: slug, Crew: "test", Owner: "me", Created: now, Expires: now.Add(time.Hour)},
		Nonce:          box.NewNonce(),
		PublicKey:      string(ssh.MarshalAuthorizedKey(user.PublicKey())),
		HostPrivateKey: host, Options: options, Progress: func(string) {},
	}}
}

// lease is a living box, logged in to.
type lease struct {
	t *testing.T
	box.Box
	order
	client *ssh.Client
}

// warmup creates a box and logs in; the test's end destroys it.
func warmup(t *testing.T, p *Provider, o order) *lease {
	t.Helper()
	b, err := p.Create(testContext(t), o.Request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Destroy(context.Background(), b.ProviderID, o.Nonce); err != nil {
			t.Error(err)
		}
	})
	return &lease{t: t, Box: b, order: o, client: dial(t, b, o.user)}
}

func dial(t *testing.T, b box.Box, user ssh.Signer) *ssh.Client {
	t.Helper()
	stream, err := net.Dial("unix", b.Endpoint.Socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	host, _, _, _, err := ssh.ParseAuthorizedKey([]byte(b.Endpoint.HostKey.Keys[0]))
	if err != nil {
		t.Fatal(err)
	}
	c, channels, requests, err := ssh.NewClientConn(stream, "box", &ssh.ClientConfig{
		User: b.Endpoint.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(user)}, HostKeyCallback: ssh.FixedHostKey(host),
	})
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(c, channels, requests)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// try runs a shell line in the box.
func (l *lease) try(line string) (out string, code int) {
	l.t.Helper()
	session, err := l.client.NewSession()
	if err != nil {
		l.t.Fatal(err)
	}
	defer session.Close()
	both, err := session.CombinedOutput(line)
	text := strings.TrimSpace(string(both))
	var exit *ssh.ExitError
	switch {
	case errors.As(err, &exit):
		return text, exit.ExitStatus()
	case err != nil:
		l.t.Fatalf("%s: %v", line, err)
	}
	return text, 0
}

// sh is try for a line that has to succeed.
func (l *lease) sh(line string) string {
	l.t.Helper()
	out, code := l.try(line)
	if code != 0 {
		l.t.Fatalf("%s: exit code %d: %s", line, code, out)
	}
	return out
}
