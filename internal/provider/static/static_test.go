package static

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

// sshPath is OpenSSH's client, which the tests need.
func sshPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("ssh")
	if err != nil {
		t.Fatalf("tests need OpenSSH's client (Debian: apt-get install openssh-client): %v", err)
	}
	return path
}

// newStatic is the provider of a person with an empty home and this ssh_config.
func newStatic(t *testing.T, config string, options provider.Options) *Static {
	t.Helper()
	return staticAt(t, t.TempDir(), t.TempDir(), sshPath(t), config, options)
}

func staticAt(t *testing.T, dir, home, ssh, config string, options provider.Options) *Static {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".ssh", "config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := build(provider.Settings{
		Dir: dir, UserHome: home, Options: options,
		Getenv: func(name string) string { return map[string]string{"CBX_SOCK": "/run/agent"}[name] },
		Log:    slog.New(slog.DiscardHandler),
	}, ssh)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request(slug string, options provider.Options) provider.Request {
	return provider.Request{
		Box: box.Box{
			ID: box.NewID(), Slug: slug, Crew: "demo", Owner: "me",
			Expose: []box.Port{{Number: 8080, Proto: box.TCP}}, Labels: box.Labels{"team": "blue"},
			Created: time.Unix(1700000000, 0).UTC(), Expires: time.Unix(1700003600, 0).UTC(),
		},
		Nonce: box.NewNonce(), Options: options, Progress: func(string) {},
	}
}

func create(t *testing.T, p *Static, r provider.Request) box.Box {
	t.Helper()
	b, err := p.Create(t.Context(), r)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return b
}

func wantKind(t *testing.T, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if got := fault.KindOf(err); got != kind {
		t.Fatalf("kind %q, want %q: %v", got, kind, err)
	}
	text := err.Error() + "\n" + fault.RemedyOf(err)
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%q is not in:\n%s", word, text)
		}
	}
}

func TestLeaseOfOneHost(t *testing.T) {
	p := newStatic(t, "", nil)
	r := request("web", provider.Options{"host": "bob@db1.example.com:2200"})
	b := create(t, p, r)
	if b.ProviderID != string(r.Box.ID) || b.Slug != "web" || b.Crew != "demo" || b.State != box.Running || b.Labels["team"] != "blue" || len(b.Expose) != 1 {
		t.Errorf("box: %+v", b)
	}
	e := b.Endpoint
	if e.Dialer != box.DialTCP || e.Addrs[0] != "db1.example.com:2200" || e.User != "bob" || e.Identity.LeaseKey || e.Identity.Agent != "SSH_AUTH_SOCK" || e.Can != box.CanAll {
		t.Errorf("endpoint: %+v", e)
	}
	again := create(t, p, r)
	if again.ProviderID != b.ProviderID {
		t.Error("the same request made another box")
	}
	got, err := p.Get(t.Context(), b.ProviderID)
	if err != nil || got.Endpoint.Addrs[0] != e.Addrs[0] || !got.Expires.Equal(r.Box.Expires) {
		t.Errorf("get: %+v, %v", got, err)
	}
	if info, err := os.Stat(p.records.path(b.ProviderID)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("record: %v, %v", info, err)
	}

	if err := p.Destroy(t.Context(), b.ProviderID, "another"); fault.KindOf(err) != fault.NotOurs {
		t.Errorf("destroy with a wrong nonce: %v", err)
	}
	for range 2 { // gone already is success
		if err := p.Destroy(t.Context(), b.ProviderID, r.Nonce); err != nil {
			t.Fatal(err)
		}
	}
	_, err = p.Get(t.Context(), b.ProviderID)
	wantKind(t, err, fault.NotFound)
	_, err = p.Get(t.Context(), "../../etc/passwd")
	wantKind(t, err, fault.NotFound)
}

func TestHostIsLeasedOnce(t *testing.T) {
	p := newStatic(t, "Host one two\n HostName DB1\n", nil)
	first := request("web", provider.Options{"host": "one"})
	create(t, p, first)
	for _, name := range []string{"one", "two", "bob@db1", "db1:22"} {
		_, err := p.Create(t.Context(), request("api", provider.Options{"host": name}))
		wantKind(t, err, fault.Conflict, "is held by web of crew demo", string(first.Box.ID), "crabbox release")
	}
	create(t, p, request("api", provider.Options{"host": "db1:2222"})) // another server of that machine
	if err := p.Destroy(t.Context(), string(first.Box.ID), first.Nonce); err != nil {
		t.Fatal(err)
	}
	create(t, p, request("api", provider.Options{"host": "two"}))
}

// Behind two gateways the same address is two machines.
func TestSameAddressBehindTwoGateways(t *testing.T) {
	p := newStatic(t, "Host a\n HostName 10.0.0.5\n ProxyJump gw1\nHost b\n HostName 10.0.0.5\n ProxyJump gw2\n", nil)
	create(t, p, request("web", provider.Options{"host": "a"}))
	create(t, p, request("api", provider.Options{"host": "b"}))
}

func TestPool(t *testing.T) {
	pool := provider.Options{"hosts": "db1\n\nbob@db2\ndb3:2200"}
	dir, home := t.TempDir(), t.TempDir()
	var mu sync.Mutex
	taken := map[string]bool{}
	var leasing sync.WaitGroup
	for range 3 { // at once, each as a process of its own would
		leasing.Go(func() {
			p := staticAt(t, dir, home, "", "", pool)
			b, err := p.Create(context.Background(), request("web", nil))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			taken[b.Endpoint.Addrs[0]] = true
		})
	}
	leasing.Wait()
	if len(taken) != 3 {
		t.Fatalf("three leases took %v", taken)
	}
	p := staticAt(t, dir, home, "", "", pool)
	_, err := p.Create(t.Context(), request("api", nil))
	wantKind(t, err, fault.Conflict, "no host of the pool is free", "db1 is held by web", "db2 is held", "db3 is held")

	all, err := p.List(t.Context(), box.Labels{box.KeyCrew: "demo"})
	if err != nil || len(all) != 3 {
		t.Fatalf("list: %v, %v", all, err)
	}
	none, err := p.List(t.Context(), box.Labels{box.KeyCrew: "other"})
	if err != nil || len(none) != 0 {
		t.Errorf("list of another crew: %v, %v", none, err)
	}
}

func TestBadHosts(t *testing.T) {
	p := newStatic(t, "", nil)
	for _, host := range []string{"-oProxyCommand=touch x", "a b", "a;b", "$(id)", "`id`", "a\nb", "@host", "host:", "host:0", "host:65536", "host:http", "[::1", "bob;x@host", "-bob@host", "host\x1b[31m", "*", "!x", "a,b"} {
		_, err := p.Create(t.Context(), request("web", provider.Options{"host": host}))
		wantKind(t, err, fault.Usage)
		if strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("%q comes out raw: %q", host, err)
		}
	}
	_, err := p.Create(t.Context(), request("web", nil))
	wantKind(t, err, fault.Usage, "-o host=", "providers.ssh.hosts")
	_, err = p.Create(t.Context(), request("web", provider.Options{"host": "x", "identity": "/does/not/exist"}))
	wantKind(t, err, fault.Usage, "identity", "/does/not/exist: ")
	_, err = p.Create(t.Context(), request("web", provider.Options{"host": "x", "config": "/does/not/exist"}))
	wantKind(t, err, fault.Usage, "config")
	if all, err := p.records.all(); err != nil || len(all) != 0 {
		t.Errorf("failed leases left %v, %v", all, err)
	}
}

func TestHostForms(t *testing.T) {
	for typed, want := range map[string]wish{
		"db1":                  {Host: "db1"},
		"bob@db1":              {Host: "db1", User: "bob"},
		"bob@corp.com@db1:22":  {Host: "db1", User: "bob@corp.com", Port: "22"},
		"::1":                  {Host: "::1"},
		"[::1]":                {Host: "::1"},
		"bob@[fe80::1%eth0]:2": {Host: "fe80::1%eth0", User: "bob", Port: "2"},
		"ssh://bob@db1:22":     {Host: "db1", User: "bob", Port: "22"},
	} {
		if got, err := parseWish(typed); err != nil || got != want {
			t.Errorf("%q: %+v, %v", typed, got, err)
		}
	}
}

func TestSetLabels(t *testing.T) {
	p := newStatic(t, "", nil)
	r := request("web", provider.Options{"host": "db1"})
	b := create(t, p, r)
	b.Labels = box.Labels{"team": "red"}
	if err := p.SetLabels(t.Context(), b.ProviderID, b.AllLabels(r.Nonce)); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Get(t.Context(), b.ProviderID); err != nil || got.Labels["team"] != "red" || got.Slug != "web" {
		t.Errorf("get: %+v, %v", got, err)
	}
	err := p.SetLabels(t.Context(), b.ProviderID, b.AllLabels("another"))
	wantKind(t, err, fault.NotOurs)
	err = p.SetLabels(t.Context(), string(box.NewID()), b.AllLabels(r.Nonce))
	wantKind(t, err, fault.NotFound)
}

func TestBrokenRecordCostsOnlyItself(t *testing.T) {
	p := newStatic(t, "", nil)
	b := create(t, p, request("web", provider.Options{"host": "db1"}))
	broken := string(box.NewID())
	if err := os.WriteFile(p.records.path(broken), []byte(`{"version":1,"id":"cb`), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := p.List(t.Context(), nil)
	if err != nil || len(all) != 1 || all[0].ProviderID != b.ProviderID {
		t.Errorf("list: %v, %v", all, err)
	}
	_, err = p.Get(t.Context(), broken)
	wantKind(t, err, fault.Failed, broken)
	create(t, p, request("api", provider.Options{"host": "db2"}))
}

func TestBrokenConfigIsToldAndHidesNobody(t *testing.T) {
	p := newStatic(t, "", nil)
	b := create(t, p, request("web", provider.Options{"host": "db1"}))
	if err := os.WriteFile(filepath.Join(p.home, ".ssh", "config"), []byte("Bogus yes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := p.Get(t.Context(), b.ProviderID)
	if err == nil || errors.Is(err, fault.NotFound) {
		t.Fatalf("get with a broken ssh_config: %v", err)
	}
	all, err := p.List(t.Context(), nil)
	if err != nil || len(all) != 1 || !strings.Contains(all[0].Note, "ssh settings") {
		t.Errorf("list: %+v, %v", all, err)
	}
}

// Get follows an edited ssh_config: the machine may have moved.
func TestGetReadsTodaysConfig(t *testing.T) {
	p := newStatic(t, "Host web\n HostName 10.0.0.1\n", nil)
	b := create(t, p, request("web", provider.Options{"host": "web"}))
	if err := os.WriteFile(filepath.Join(p.home, ".ssh", "config"), []byte("Host web\n HostName 10.0.0.2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := p.Get(t.Context(), b.ProviderID)
	if err != nil || got.Endpoint.Addrs[0] != net.JoinHostPort("10.0.0.2", "22") {
		t.Errorf("get: %v, %v", got.Endpoint.Addrs, err)
	}
}

func TestOptionIdentity(t *testing.T) {
	p := newStatic(t, "IdentityFile ~/.ssh/other\n", nil)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := create(t, p, request("web", provider.Options{"host": "db1", "identity": key, "user": "bob", "port": "2200"}))
	e := b.Endpoint
	if len(e.Identity.Files) != 1 || e.Identity.Files[0] != key || !e.Identity.Only || e.User != "bob" || e.Addrs[0] != "db1:2200" {
		t.Errorf("endpoint: %+v", e)
	}
}
