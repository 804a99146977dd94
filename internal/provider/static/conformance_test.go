package static

import (
	"context"
	"log/slog"
	"net"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/login"
	"crabbox/internal/provider"
	"crabbox/internal/provider/providertest"
	"crabbox/internal/sshdtest"
)

// TestConformance leases a real OpenSSH server under as many names as the suite
// wants boxes: each port of a pool is a machine of its own to the provider.
func TestConformance(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	dir, home, ssh0 := t.TempDir(), t.TempDir(), sshPath(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	machines := 0
	providertest.Run(t, providertest.Harness{
		Descriptor: Descriptor(),
		New: func(t *testing.T) provider.Provider {
			return staticAt(t, dir, home, ssh0, "", nil)
		},
		Prepare: func(t *testing.T, r *provider.Request) {
			// 127.0.0.1, 127.0.0.2, ... are the same server and different places.
			machines++
			r.Options["host"] = me.Username + "@" + net.JoinHostPort("127.0.0."+strconv.Itoa(machines), strconv.Itoa(s.Port))
			r.Options["identity"] = s.UserKeyFile
		},
		Login: func(ctx context.Context, t *testing.T, b box.Box, _ ssh.Signer) (*ssh.Client, error) {
			b.Endpoint.Addrs = []string{s.Addr}
			b.Endpoint.HostKey = box.HostKey{Keys: []string{string(ssh.MarshalAuthorizedKey(s.HostKey))}}
			d := &login.Dialer{UserHome: home, Getenv: func(string) string { return "" }, Log: slog.New(slog.DiscardHandler)}
			return d.Connect(ctx, login.Target{Name: b.Slug, Endpoint: b.Endpoint, LeaseKey: filepath.Join(home, "none")})
		},
	})
}
