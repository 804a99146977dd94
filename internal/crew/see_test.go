package crew

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
	"crabbox/internal/provider/providertest"
	"crabbox/internal/store"
)

func TestFind(t *testing.T) {
	k, _ := newKeeper(t)
	web := mustWarmup(t, k, order("demo", "web"))
	other := mustWarmup(t, k, order("other", "web"))
	api := mustWarmup(t, k, order("demo", "api"))
	lone := mustWarmup(t, k, order("", "lone"))
	for ref, want := range map[string]store.Lease{
		string(web.Box.ID): web, "api": api, "lone": lone, "demo/web": web, "other/web": other,
		"web.demo": web, "web.other": other, "web.demo.cbx": web, "api.cbx": api,
	} {
		l, err := k.Find(t.Context(), ref)
		if err != nil || l.Box.ID != want.Box.ID {
			t.Errorf("Find(%q) = %s, %v; want %s", ref, l.Box.ID, err, want.Box.ID)
		}
	}
	for _, test := range []struct {
		ref    string
		kind   fault.Kind
		remedy string
	}{
		{"web", fault.Conflict, "demo/web, other/web"},
		{"aip", fault.NotFound, "Did you mean api?"},
		{"cbx_000000000000", fault.NotFound, "crabbox list"},
		{"lone.demo", fault.NotFound, "crabbox list"},
		{"other/api", fault.NotFound, "crabbox list"},
		{"../x", fault.Usage, "a-z"},
		{"", fault.Usage, "a-z"},
		{"demo/", fault.Usage, "a-z"},
		{"Web", fault.Usage, "web"},
		{"web.de mo", fault.Usage, "a-z"},
	} {
		_, err := k.Find(t.Context(), test.ref)
		checkFault(t, err, test.kind, test.remedy)
	}
}

func TestListFilters(t *testing.T) {
	k, _ := newKeeper(t)
	mustWarmup(t, k, order("demo", "web"))
	mustWarmup(t, k, order("demo", "api"))
	mustWarmup(t, k, order("other", "web"))
	for _, fresh := range []bool{false, true} {
		for _, test := range []struct {
			filter Filter
			want   int
		}{{Filter{}, 3}, {Filter{Crew: "demo"}, 2}, {Filter{Crew: "none"}, 0}, {Filter{Provider: "mem"}, 3}, {Filter{Crew: "other", Provider: "mem"}, 1}} {
			leases, problems, err := k.List(t.Context(), test.filter, fresh)
			if err != nil || len(problems) != 0 || len(leases) != test.want {
				t.Errorf("%+v: %d leases, %v, %v; want %d", test.filter, len(leases), problems, err, test.want)
			}
		}
	}
	_, _, err := k.List(t.Context(), Filter{Provider: "men"}, false)
	checkFault(t, err, fault.Usage, "mem")
}

// named is a provider under another name that can keep boxes out of its lists.
type named struct {
	*providertest.Mem
	hidden bool
}

func (n *named) descriptor(name string) provider.Descriptor {
	d := n.Descriptor()
	d.Name = name
	d.New = func(provider.Settings) (provider.Provider, error) { return n, nil }
	return d
}

func (n *named) List(ctx context.Context, match box.Labels) ([]box.Box, error) {
	boxes, err := n.Mem.List(ctx, match)
	if n.hidden {
		boxes = nil
	}
	return boxes, err
}

func TestListFreshTellsGoneFromUnseen(t *testing.T) {
	n := &named{Mem: providertest.NewMem(t)}
	k := keeperOf(t, n.descriptor("mem"))
	stays := mustWarmup(t, k, order("demo", "stays"))
	goes := mustWarmup(t, k, order("demo", "goes"))
	n.Vanish(goes.Box.ProviderID)
	n.hidden = true // absence from a list proves nothing
	leases, problems, err := k.List(t.Context(), Filter{}, true)
	if err != nil || len(problems) != 0 || len(leases) != 2 {
		t.Fatalf("leases %v, problems %v, %v", leases, problems, err)
	}
	for _, l := range leases {
		want := box.Running
		if l.Box.ID == goes.Box.ID {
			want = box.Gone
		}
		if l.Box.State != want {
			t.Errorf("%s is %s, want %s", l.Box.Slug, l.Box.State, want)
		}
	}
	stored, err := k.Store.Lease(goes.Box.ID)
	if err != nil || stored.Box.State != box.Gone || stored.Box.Note != "" {
		t.Errorf("stored %+v, %v", stored.Box, err)
	}
	if stored, err = k.Store.Lease(stays.Box.ID); err != nil || stored.Box.State != box.Running {
		t.Errorf("stored %+v, %v", stored.Box, err)
	}
}

func TestListFreshWhenAProviderFails(t *testing.T) {
	good, bad := &named{Mem: providertest.NewMem(t)}, &named{Mem: providertest.NewMem(t)}
	k := keeperOf(t, good.descriptor("good"), bad.descriptor("bad"))
	mustWarmup(t, k, Order{Provider: "good", Slug: "web"})
	mustWarmup(t, k, Order{Provider: "bad", Slug: "api"})
	for _, test := range []struct {
		name  string
		spoil func()
		kind  fault.Kind
	}{
		{"refused", func() { bad.FailNext(providertest.OpList, fault.New(fault.Credentials, "", "no")) }, fault.Credentials},
		{"silent", func() { bad.Delay(providertest.OpList, time.Hour) }, fault.Failed},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.spoil()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			leases, problems, err := k.List(ctx, Filter{}, true)
			if err != nil || len(leases) != 2 {
				t.Fatalf("leases %v, %v", leases, err)
			}
			if len(problems) != 1 || problems[0].Provider != "bad" || fault.KindOf(problems[0].Err) != test.kind {
				t.Errorf("problems %v", problems)
			}
			for _, l := range leases {
				if l.Box.State != box.Running {
					t.Errorf("%s is %s", l.Box.Slug, l.Box.State)
				}
			}
		})
	}
}

func TestListOfAProviderThatIsNotKnownAnyMore(t *testing.T) {
	k, mem := newKeeper(t)
	l := mustWarmup(t, k, order("demo", "web"))
	k2 := keeperOf(t)
	k2.Store = k.Store
	leases, problems, err := k2.List(t.Context(), Filter{}, true)
	if err != nil || len(leases) != 1 || len(problems) != 1 || problems[0].Provider != "mem" {
		t.Errorf("leases %v, problems %v, %v", leases, problems, err)
	}
	if err := k2.Release(t.Context(), l); !errors.Is(err, fault.Usage) || len(mem.IDs()) != 1 {
		t.Errorf("release: %v", err)
	}
}

func TestListMarksAndReports(t *testing.T) {
	k, _ := newKeeper(t)
	over := mustWarmup(t, k, order("demo", "over"))
	if err := k.Store.WriteFile([]byte(`{"version":`), "leases", "cbx_00000000000a.json"); err != nil {
		t.Fatal(err)
	}
	k.Now = func() time.Time { return over.Box.Expires }
	leases, problems, err := k.List(t.Context(), Filter{}, false)
	if err != nil || len(leases) != 1 || !strings.Contains(leases[0].Box.Note, "time is over") {
		t.Errorf("leases %+v, %v", leases, err)
	}
	if len(problems) != 1 || !strings.Contains(problems[0].Err.Error(), "cbx_00000000000a.json") {
		t.Errorf("problems %v", problems)
	}
	var warned []error
	k.Warn = func(err error) { warned = append(warned, err) }
	if err := k.Store.WriteFile([]byte(`{"version":`), "leases", "cbx_00000000000b.json"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Find(t.Context(), "over"); err != nil || len(warned) != 1 {
		t.Errorf("warned %v, %v", warned, err)
	}
}

func TestListThatIsCancelled(t *testing.T) {
	k, _ := newKeeper(t)
	mustWarmup(t, k, order("demo", "web"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := k.List(ctx, Filter{}, true); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestRefreshTakesTodaysEndpointAndKeepsHostKeys(t *testing.T) {
	k, mem := newKeeper(t)
	l := mustWarmup(t, k, order("demo", "web"))
	seen, err := mem.Get(t.Context(), l.Box.ProviderID)
	if err != nil {
		t.Fatal(err)
	}
	seen.Endpoint = box.Endpoint{Dialer: box.DialTCP, Addrs: []string{"127.0.0.1:22"}, User: "moved", HostKey: box.HostKey{Keys: []string{"ssh-ed25519 forged"}}}
	seen.Note = "It moved."
	d := mem.Descriptor()
	got, err := k.record(d, l, &seen)
	if err != nil || got.Box.Endpoint.User != "moved" || got.Box.Note != "It moved." {
		t.Errorf("got %+v, %v", got.Box, err)
	}
	if fmt.Sprint(got.Box.Endpoint.HostKey) != fmt.Sprint(l.Box.Endpoint.HostKey) {
		t.Errorf("host key %v replaced by %v", l.Box.Endpoint.HostKey, got.Box.Endpoint.HostKey)
	}
	back, err := k.Refresh(t.Context(), l)
	if err != nil || !same(back.Box, withNote(l.Box, "It moved.")) {
		t.Errorf("refreshed %+v, %v", back.Box, err)
	}
	seen.ID = "cbx_ffffffffffff"
	if _, err := k.record(d, l, &seen); !errors.Is(err, fault.NotOurs) {
		t.Errorf("another lease's box: %v", err)
	}
}

func withNote(b box.Box, note string) box.Box { b.Note = note; return b }

func TestRefresh(t *testing.T) {
	k, mem := newKeeper(t)
	now := time.Now()
	k.Now = func() time.Time { return now }
	l := mustWarmup(t, k, order("demo", "web"))

	stamp := k.Store.LeasesStamp()
	if _, err := k.Refresh(t.Context(), l); err != nil || k.Store.LeasesStamp() != stamp {
		t.Errorf("nothing changed, yet the record did (%v)", err)
	}
	now = now.Add(2 * time.Minute)
	got, err := k.Refresh(t.Context(), l)
	if err != nil || !got.Updated.Equal(now) || k.Store.LeasesStamp() == stamp {
		t.Errorf("updated %s, want %s (%v)", got.Updated, now, err)
	}

	mem.FailNext(providertest.OpGet, fault.New(fault.Credentials, "Set a token.", "no"))
	got, err = k.Refresh(t.Context(), l)
	checkFault(t, err, fault.Credentials, "Set a token.")
	if stored, _ := k.Store.Lease(l.Box.ID); stored.Box.State != box.Running || got.Box.State != box.Running {
		t.Errorf("trouble with the account made it %s", stored.Box.State)
	}

	mem.Vanish(l.Box.ProviderID)
	got, err = k.Refresh(t.Context(), l)
	checkFault(t, err, fault.NotFound, "crabbox release")
	if stored, _ := k.Store.Lease(l.Box.ID); stored.Box.State != box.Gone || got.Box.State != box.Gone {
		t.Errorf("gone box is %s in the store, %s in the answer", stored.Box.State, got.Box.State)
	}

	if err := k.Release(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	_, err = k.Refresh(t.Context(), l)
	checkFault(t, err, fault.NotFound, "crabbox list")
	checkNothingLeft(t, k, mem) // a refresh does not bring it back
}

// Labels on the box are the truth where the provider keeps them, and only there.
func TestRefreshTakesLabelsFromTheBox(t *testing.T) {
	for _, where := range []provider.LabelStore{provider.LabelsNative, provider.LabelsLocal} {
		mem := providertest.NewMem(t)
		mem.Can.Labels = where
		k := keeperOf(t, mem.Descriptor())
		l := mustWarmup(t, k, order("demo", "web"))
		colleague := l.Box
		colleague.Expose, colleague.Role = []box.Port{{Number: 9, Proto: box.TCP}}, "db"
		if err := mem.SetLabels(t.Context(), l.Box.ProviderID, colleague.AllLabels(l.Nonce)); err != nil {
			t.Fatal(err)
		}
		got, err := k.Refresh(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		if native := where == provider.LabelsNative; (got.Box.Role == "db") != native || (len(got.Box.Expose) == 1) != native {
			t.Errorf("labels %s: role %q, expose %v", where, got.Box.Role, got.Box.Expose)
		}
	}
}
