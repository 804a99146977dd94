package crew

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/login"
	"crabbox/internal/provider"
	"crabbox/internal/provider/providertest"
	"crabbox/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newKeeper returns a Keeper with real logins, and the provider whose boxes
// live in this process.
func newKeeper(t *testing.T) (*Keeper, *providertest.Mem) {
	t.Helper()
	mem := providertest.NewMem(t)
	return keeperOf(t, mem.Descriptor()), mem
}

func keeperOf(t *testing.T, providers ...provider.Descriptor) *Keeper {
	t.Helper()
	dir, err := os.MkdirTemp("", "cbx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &Keeper{
		Store: s, Providers: providers, Owner: "ann",
		Settings: func(provider.Descriptor) (provider.Settings, error) { return provider.Settings{}, nil },
		Login:    &login.Dialer{Pins: s, Getenv: func(string) string { return "" }},
	}
}

func order(crew, slug string) Order { return Order{Provider: "mem", Crew: crew, Slug: slug} }

// quiet is a progress that nobody looks at.
func quiet(string) {}

func mustWarmup(t *testing.T, k *Keeper, o Order) store.Lease {
	t.Helper()
	l, err := k.Warmup(t.Context(), o, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// checkNothingLeft fails when a box or anything of a lease is still there.
func checkNothingLeft(t *testing.T, k *Keeper, mem *providertest.Mem) {
	t.Helper()
	if ids := mem.IDs(); len(ids) > 0 {
		t.Errorf("boxes left: %q", ids)
	}
	checkStoreEmpty(t, k)
}

func checkStoreEmpty(t *testing.T, k *Keeper) {
	t.Helper()
	err := filepath.WalkDir(k.Store.Path(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, _ := filepath.Rel(k.Store.Path(), path)
		switch filepath.ToSlash(name) {
		case "slugs.lock", "leases.lock", "known_hosts.lock", "crew/addresses.lock": // as many as there are kinds
			return nil
		case "crew/addresses.json":
			data, err := os.ReadFile(path)
			if err == nil && !strings.Contains(string(data), "/") {
				return nil
			}
		case "known_hosts":
			if info, err := entry.Info(); err == nil && info.Size() == 0 {
				return nil
			}
		}
		t.Errorf("file left: %s", name)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func checkFault(t *testing.T, err error, kind fault.Kind, remedy string) {
	t.Helper()
	if fault.KindOf(err) != kind || !strings.Contains(fault.RemedyOf(err), remedy) {
		t.Errorf("error %v (kind %q, remedy %q), want kind %q and a remedy with %q", err, fault.KindOf(err), fault.RemedyOf(err), kind, remedy)
	}
}

func TestWarmupAndRelease(t *testing.T) {
	k, mem := newKeeper(t)
	now := time.Now().Add(time.Hour)
	k.Now = func() time.Time { return now }
	o := Order{
		Provider: "mem", Crew: "demo", Slug: "web", Role: "front", TTL: 2 * time.Hour,
		Expose: []box.Port{{Number: 8080, Proto: box.TCP}, {Number: 53, Proto: box.UDP}},
		Labels: box.Labels{"team": "core"}, Options: []string{"color=blue"},
	}
	var progress []string
	l, err := k.Warmup(t.Context(), o, func(s string) { progress = append(progress, s) })
	if err != nil {
		t.Fatal(err)
	}
	b := l.Box
	if b.State != box.Running || b.Slug != "web" || b.Crew != "demo" || b.Role != "front" || b.Owner != "ann" || b.Provider != "mem" || b.ProviderID == "" {
		t.Errorf("box %+v", b)
	}
	if fmt.Sprint(b.Expose) != "[53/udp 8080]" || b.Labels["team"] != "core" || l.Options["color"] != "blue" || !strings.Contains(b.Note, "UDP") {
		t.Errorf("expose %v, labels %v, options %v, note %q", b.Expose, b.Labels, l.Options, b.Note)
	}
	if want := now.UTC().Truncate(time.Second); !b.Created.Equal(want) || !b.Expires.Equal(want.Add(2*time.Hour)) {
		t.Errorf("created %s, expires %s", b.Created, b.Expires)
	}
	if len(progress) < 2 {
		t.Errorf("progress %q", progress)
	}
	stored, err := k.Store.Lease(b.ID)
	if err != nil || !same(stored.Box, b) || stored.Nonce == "" {
		t.Errorf("stored %+v, %v", stored, err)
	}
	checkLogin(t, k, stored)
	checkPinned(t, k, stored)

	if err := k.Release(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	checkNothingLeft(t, k, mem)
	if err := k.Release(t.Context(), l); err != nil {
		t.Errorf("a second time: %v", err)
	}
	checkNothingLeft(t, k, mem)
}

func checkLogin(t *testing.T, k *Keeper, l store.Lease) {
	t.Helper()
	target, err := k.Target(l)
	if err != nil {
		t.Fatal(err)
	}
	client, err := k.Login.Connect(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
}

func checkPinned(t *testing.T, k *Keeper, l store.Lease) {
	t.Helper()
	keys, err := k.Store.Pinned(string(l.Box.ID))
	if err != nil || len(keys) != 1 {
		t.Errorf("pinned host keys %v, %v", keys, err)
	}
}

// Where the provider cannot give the box a host key, the first contact pins it.
func TestWarmupPinsAtFirstContact(t *testing.T) {
	mem := providertest.NewMem(t)
	mem.Can.HostKey = false
	k := keeperOf(t, mem.Descriptor())
	l := mustWarmup(t, k, order("demo", "web"))
	if len(l.Box.Endpoint.HostKey.Keys) != 0 {
		t.Errorf("host keys given: %v", l.Box.Endpoint.HostKey.Keys)
	}
	checkPinned(t, k, l)
	checkLogin(t, k, l)
}

func TestWarmupThroughTheProvidersOwnStream(t *testing.T) {
	mem := providertest.NewMem(t)
	mem.ViaOpener = true
	k := keeperOf(t, mem.Descriptor())
	l := mustWarmup(t, k, order("demo", "web"))
	if mem.Calls(providertest.OpOpen) == 0 {
		t.Error("the provider's stream was not used")
	}
	checkLogin(t, k, l)
}

func TestWarmupRefusesBeforeAnythingIsMade(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Order)
		remedy string
	}{
		{"unknown provider", func(o *Order) { o.Provider = "men" }, "Did you mean mem?"},
		{"unknown option", func(o *Order) { o.Options = []string{"colour=red"} }, "Did you mean color?"},
		{"option without value", func(o *Order) { o.Options = []string{"color"} }, "KEY=VALUE"},
		{"impossible value", func(o *Order) { o.Options = []string{"color=green"} }, "red, blue"},
		{"secret on the command line", func(o *Order) { o.Options = []string{"token=x"} }, "CRABBOX_MEM_TOKEN"},
		{"crew", func(o *Order) { o.Crew = "My Crew" }, "my-crew"},
		{"slug", func(o *Order) { o.Slug = "../x" }, "a-z"},
		{"role", func(o *Order) { o.Role = "🦀" }, "a-z"},
		{"port 0", func(o *Order) { o.Expose = []box.Port{{Proto: box.TCP}} }, "1 to 65535"},
		{"port twice", func(o *Order) { o.Expose = []box.Port{{Number: 1, Proto: box.TCP}, {Number: 1, Proto: box.TCP}} }, "once"},
		{"label key", func(o *Order) { o.Labels = box.Labels{"Team": "x"} }, "label"},
		{"label value", func(o *Order) { o.Labels = box.Labels{"team": "a b"} }, "label"},
		{"label of ours", func(o *Order) { o.Labels = box.Labels{"crew": "x"} }, "another key"},
		{"continued label of ours", func(o *Order) { o.Labels = box.Labels{"expose2": "1"} }, "another key"},
		{"negative ttl", func(o *Order) { o.TTL = -time.Second }, "duration"},
		{"ttl under a second", func(o *Order) { o.TTL = time.Millisecond }, "duration"},
		{"size", func(o *Order) { o.Size = "big" }, "--size"},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, mem := newKeeper(t)
			o := order("demo", "web")
			test.change(&o)
			_, err := k.Warmup(t.Context(), o, quiet)
			checkFault(t, err, fault.Usage, test.remedy)
			checkNothingLeft(t, k, mem)
			if n := mem.Calls(providertest.OpCreate); n != 0 {
				t.Errorf("%d calls of Create", n)
			}
		})
	}
}

func TestTwoMembersNeverShareASlug(t *testing.T) {
	k, mem := newKeeper(t)
	first := mustWarmup(t, k, order("demo", "web"))
	_, err := k.Warmup(t.Context(), order("demo", "web"), quiet)
	checkFault(t, err, fault.Conflict, string(first.Box.ID))
	mustWarmup(t, k, order("other", "web"))
	mustWarmup(t, k, order("", "web"))
	_, err = k.Warmup(t.Context(), order("", "web"), quiet)
	checkFault(t, err, fault.Conflict, "crabbox release")
	if n := len(mem.IDs()); n != 3 {
		t.Errorf("%d boxes", n)
	}
}

func TestManyWarmupsAtOnce(t *testing.T) {
	k, mem := newKeeper(t)
	const tries = 8
	errs := make(chan error, 2*tries)
	slugs := make(chan string, tries)
	for range tries {
		go func() {
			_, err := k.Warmup(t.Context(), order("demo", "web"), quiet)
			errs <- err
		}()
		go func() {
			l, err := k.Warmup(t.Context(), order("demo", ""), quiet)
			if err != nil {
				t.Error(err)
			}
			slugs <- l.Box.Slug
		}()
	}
	won := 0
	for range tries {
		if err := <-errs; err == nil {
			won++
		} else if !errors.Is(err, fault.Conflict) {
			t.Error(err)
		}
	}
	seen := map[string]bool{}
	for range tries {
		slug := <-slugs
		if seen[slug] || box.CheckName("slug", slug) != nil {
			t.Errorf("drawn slug %q", slug)
		}
		seen[slug] = true
	}
	if won != 1 || len(mem.IDs()) != 1+tries {
		t.Errorf("%d of %d got the slug; %d boxes", won, tries, len(mem.IDs()))
	}
}

func TestDrawSlugWhenNearlyAllAreUsed(t *testing.T) {
	var leases []store.Lease
	for range 20000 {
		leases = append(leases, store.Lease{Box: box.Box{Slug: box.NewSlug()}})
	}
	used := map[string]bool{}
	for _, l := range leases {
		used[l.Box.Slug] = true
	}
	if slug := drawSlug(leases); used[slug] || box.CheckName("slug", slug) != nil {
		t.Errorf("drew %q", slug)
	}
}

// failing logs in by failing n times, then for real.
func failing(k *Keeper, n int, err error) (calls *int) {
	calls = new(int)
	k.logIn = func(ctx context.Context, target login.Target) (*ssh.Client, error) {
		*calls++
		if *calls <= n {
			return nil, err
		}
		return k.Login.Connect(ctx, target)
	}
	return calls
}
