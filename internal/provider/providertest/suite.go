package providertest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

// Harness is one provider and how the suite can work with it.
type Harness struct {
	// Descriptor as the program lists it; the suite believes its Can and
	// builds no provider from it.
	Descriptor provider.Descriptor
	// New returns the provider under test. It is called several times in one
	// test, as by several processes: all results see the same boxes.
	New func(t *testing.T) provider.Provider
	// Prepare fills in what a request for this provider needs besides names
	// and keys (options such as a host). May be nil.
	Prepare func(t *testing.T, r *provider.Request)
	// Login logs in to the box, with the lease's key where that is of use. May
	// be nil where the endpoint is a Unix socket, a TCP address without hops,
	// or an Opener's stream, and the lease's key is what is let in.
	Login func(ctx context.Context, t *testing.T, b box.Box, key ssh.Signer) (*ssh.Client, error)
	// Timeout bounds each test; 0 is a minute. Clouds need more.
	Timeout time.Duration
}

// Run measures a provider by every promise of provider.Provider. Each test
// makes its own boxes and destroys them.
func Run(t *testing.T, h Harness) {
	for _, promise := range []struct {
		name  string
		check func(*suite)
	}{
		{"Create", create},
		{"CreateAgainIsTheSameBox", createAgain},
		{"CreateOnceAmongMany", createOnce},
		{"CreateCancelledLeavesNothing", createCancelled},
		{"CreateWithAnotherNonceIsRefused", createForeign},
		{"GetUnknown", getUnknown},
		{"ListMatches", listMatches},
		{"LabelsRoundTrip", labelsRoundTrip},
		{"SetLabels", setLabels},
		{"Login", logIn},
		{"DestroyNeedsTheNonce", destroyForeign},
		{"DestroyTwice", destroyTwice},
		{"EndsByItself", endsByItself},
	} {
		t.Run(promise.name, func(t *testing.T) {
			limit := h.Timeout
			if limit == 0 {
				limit = time.Minute
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			promise.check(&suite{T: t, Harness: h, ctx: ctx, p: h.New(t)})
		})
	}
}

// suite is one test of the suite with its provider.
type suite struct {
	*testing.T
	Harness
	ctx context.Context
	p   provider.Provider
}

// order is a request and the user key that belongs to it.
type order struct {
	provider.Request
	key  ssh.Signer
	host ssh.Signer
}

// order writes a request with every field that a box can have.
func (s *suite) order(slug string) order {
	s.Helper()
	now := time.Now().Truncate(time.Second).UTC()
	o := order{key: newSigner(s.T, nil)}
	o.Request = provider.Request{
		Box: box.Box{
			ID: box.NewID(), Slug: slug, Crew: "conformance", Role: "tester", Owner: "me",
			Expose:  []box.Port{{Number: 53, Proto: box.UDP}, {Number: 8080, Proto: box.TCP}},
			Labels:  box.Labels{"purpose": "conformance"},
			Created: now, Expires: now.Add(time.Hour),
		},
		Nonce:     box.NewNonce(),
		PublicKey: string(ssh.MarshalAuthorizedKey(o.key.PublicKey())),
		Options:   provider.Options{},
		Progress:  func(string) {},
	}
	if s.Descriptor.Can.HostKey {
		o.host = newSigner(s.T, &o.HostPrivateKey)
	}
	if s.Prepare != nil {
		s.Prepare(s.T, &o.Request)
	}
	return o
}

// create makes the box and has it destroyed at the end of the test.
func (s *suite) create(o order) box.Box {
	s.Helper()
	s.destroyLater(o)
	b, err := s.p.Create(s.ctx, o.Request)
	if err != nil {
		s.Fatalf("Create: %v", err)
	}
	return b
}

// destroyLater destroys the order's box, if there is one, when the test ends.
func (s *suite) destroyLater(o order) {
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		boxes, err := s.p.List(ctx, box.Labels{box.KeyLease: string(o.Box.ID)})
		if err != nil {
			s.Errorf("List at the end: %v", err)
		}
		for _, b := range boxes {
			if err := s.p.Destroy(ctx, b.ProviderID, o.Nonce); err != nil {
				s.Errorf("Destroy at the end: %v", err)
			}
		}
	})
}

// list returns the provider ids of the boxes that match.
func (s *suite) list(match box.Labels) []string {
	s.Helper()
	boxes, err := s.p.List(s.ctx, match)
	if err != nil {
		s.Fatalf("List: %v", err)
	}
	var ids []string
	for _, b := range boxes {
		ids = append(ids, b.ProviderID)
	}
	return ids
}

// same fails the test unless the two are the same box under the same names.
func (s *suite) same(what string, got, want box.Box) {
	s.Helper()
	switch {
	case got.ID != want.ID, got.Slug != want.Slug, got.Crew != want.Crew, got.Role != want.Role, got.Owner != want.Owner:
		s.Errorf("%s: names are %s %s %s %s %s, want %s %s %s %s %s", what,
			got.ID, got.Slug, got.Crew, got.Role, got.Owner, want.ID, want.Slug, want.Crew, want.Role, want.Owner)
	case !slices.Equal(got.Expose, want.Expose):
		s.Errorf("%s: exposes %v, want %v", what, got.Expose, want.Expose)
	case !got.Created.Equal(want.Created), !got.Expires.Equal(want.Expires):
		s.Errorf("%s: lives from %v to %v, want %v to %v", what, got.Created, got.Expires, want.Created, want.Expires)
	case got.Labels["purpose"] != want.Labels["purpose"]:
		s.Errorf("%s: labels are %v, want %v", what, got.Labels, want.Labels)
	case got.Provider != s.Descriptor.Name:
		s.Errorf("%s: is of provider %q, want %q", what, got.Provider, s.Descriptor.Name)
	case got.ProviderID == "":
		s.Errorf("%s: has no provider id", what)
	}
}

// kind fails the test unless err is of the kind.
func (s *suite) kind(what string, err error, want fault.Kind) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("%s: error %v, want one of kind %q", what, err, want)
	}
}

// login logs in to the box within the test's time.
func (s *suite) login(b box.Box, o order) *ssh.Client {
	s.Helper()
	for {
		client, err := s.tryLogin(b, o)
		if err == nil {
			s.Cleanup(func() { _ = client.Close() })
			return client
		}
		select { // its SSH server is expected soon, which is not always at once
		case <-s.ctx.Done():
			s.Fatalf("login: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *suite) tryLogin(b box.Box, o order) (*ssh.Client, error) {
	if s.Login != nil {
		return s.Login(s.ctx, s.T, b, o.key)
	}
	stream, err := s.dial(b)
	if err != nil {
		return nil, err
	}
	deadline, _ := s.ctx.Deadline()
	if err := stream.SetDeadline(deadline); err != nil {
		s.Fatal(err)
	}
	hostKey := ssh.InsecureIgnoreHostKey()
	if o.host != nil {
		hostKey = ssh.FixedHostKey(o.host.PublicKey())
	}
	c, channels, requests, err := ssh.NewClientConn(stream, "box", &ssh.ClientConfig{
		User: b.Endpoint.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(o.key)}, HostKeyCallback: hostKey,
	})
	if err != nil {
		_ = stream.Close()
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

func (s *suite) dial(b box.Box) (net.Conn, error) {
	var d net.Dialer
	switch b.Endpoint.Dialer {
	case box.DialUnix:
		return d.DialContext(s.ctx, "unix", b.Endpoint.Socket)
	case box.DialTCP:
		return d.DialContext(s.ctx, "tcp", b.Endpoint.Addrs[0])
	case box.DialOpener:
		return s.p.(provider.Opener).Open(s.ctx, b)
	}
	s.Fatalf("the harness needs Login for endpoints of kind %q", b.Endpoint.Dialer)
	return nil, nil
}

// newSigner draws a key; the private half goes to private in OpenSSH's form.
func newSigner(t *testing.T, private *string) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if private != nil {
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			t.Fatal(err)
		}
		*private = string(pem.EncodeToMemory(block))
	}
	return signer
}

// keyLine is a public key as endpoints hold it.
func keyLine(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// together runs f n times at once.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}
