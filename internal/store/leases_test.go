package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

func lease(id, crew, slug string) Lease {
	return Lease{
		Nonce: "0123456789abcdef", Updated: time.Unix(1_800_000_100, 0).UTC(),
		Box: box.Box{
			ID: box.ID(id), Crew: crew, Slug: slug, Role: "front", Owner: "ann", Provider: "local", ProviderID: id,
			Expose: []box.Port{{Number: 53, Proto: box.UDP}, {Number: 8080, Proto: box.TCP}}, State: box.Running,
			Created: time.Unix(1_800_000_000, 0).UTC(), Expires: time.Unix(1_800_003_600, 0).UTC(),
			Labels: box.Labels{"team": "core"},
			Endpoint: box.Endpoint{Dialer: box.DialUnix, Socket: "/s", User: "u", Identity: box.Identity{LeaseKey: true},
				HostKey: box.HostKey{Keys: []string{"ssh-ed25519 AAAA"}}, Can: box.CanAll},
		},
	}
}

// checkLeases compares ids in order, and the names of broken files.
func checkLeases(t *testing.T, s *Store, ids, broken []string) {
	t.Helper()
	leases, bad, err := s.Leases()
	if err != nil {
		t.Error(err)
	}
	var gotIDs, gotBroken []string
	for _, l := range leases {
		gotIDs = append(gotIDs, string(l.Box.ID))
	}
	for _, b := range bad {
		gotBroken = append(gotBroken, filepath.Base(b.Path))
		if b.Reason == "" || strings.Contains(b.Reason, "\n") {
			t.Errorf("reason %q of %s is not one line", b.Reason, b.Path)
		}
	}
	if !slices.Equal(gotIDs, ids) || !slices.Equal(gotBroken, broken) {
		t.Errorf("leases %q, broken %q; want %q and %q", gotIDs, gotBroken, ids, broken)
	}
}

func TestLeaseRoundTrip(t *testing.T) {
	s := newStore(t)
	want := lease("cbx_0123456789ab", "demo", "web")
	want.Options = map[string]string{"network": "host"}
	if err := s.SaveLease(want); err != nil {
		t.Fatal(err)
	}
	got, err := s.Lease(want.Box.ID)
	if err != nil {
		t.Fatal(err)
	}
	want.Version = LeaseVersion
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	checkMode(t, s.leasePath(want.Box.ID), 0o600)
	checkMode(t, s.Path("leases"), 0o700)
}

func TestLeasesAreOldestFirst(t *testing.T) {
	s := newStore(t)
	for i, id := range []string{"cbx_00000000000b", "cbx_00000000000a", "cbx_00000000000c"} {
		l := lease(id, "demo", "m"+strconv.Itoa(i))
		if i == 2 {
			l.Box.Created = l.Box.Created.Add(-time.Hour)
		}
		if err := s.SaveLease(l); err != nil {
			t.Fatal(err)
		}
	}
	checkLeases(t, s, []string{"cbx_00000000000c", "cbx_00000000000a", "cbx_00000000000b"}, nil)
}

func TestLeaseThatIsNotThere(t *testing.T) {
	s := newStore(t)
	_, err := s.Lease("cbx_0123456789ab")
	checkFault(t, err, fault.NotFound, "crabbox list")
	_, err = s.UpdateLease("cbx_0123456789ab", func(*Lease) { t.Error("changed") })
	checkFault(t, err, fault.NotFound, "crabbox list")
	checkLeases(t, s, nil, nil)
	for _, id := range []box.ID{"", "../x", "cbx_0123456789AB", "cbx_0123456789ab/../x"} {
		if err := s.SaveLease(lease(string(id), "demo", "web")); !errors.Is(err, fault.Usage) {
			t.Errorf("SaveLease(%q) = %v", id, err)
		}
		if _, err := s.Lease(id); !errors.Is(err, fault.Usage) {
			t.Errorf("Lease(%q) = %v", id, err)
		}
		if err := s.RemoveLease(id); !errors.Is(err, fault.Usage) {
			t.Errorf("RemoveLease(%q) = %v", id, err)
		}
		if _, err := s.NewKey(id); !errors.Is(err, fault.Usage) {
			t.Errorf("NewKey(%q) = %v", id, err)
		}
	}
}

func TestBrokenLeaseFilesAreSetAside(t *testing.T) {
	whole := `{"version":1,"nonce":"n","box":{"id":"cbx_00000000000a","slug":"web","provider":"local","state":"running","endpoint":{}}}`
	for _, test := range []struct{ name, content string }{
		{"half written", whole[:len(whole)/2]},
		{"empty", ""},
		{"not an object", `[1, 2]`},
		{"no version", strings.Replace(whole, `"version":1,`, "", 1)},
		{"another lease's", strings.Replace(whole, "00a", "00b", 1)},
		{"a slug that climbs", strings.Replace(whole, `"web"`, `"../../x"`, 1)},
		{"no slug", strings.Replace(whole, `"web"`, `""`, 1)},
		{"a crew with a newline", strings.Replace(whole, `"slug"`, `"crew":"a\nb","slug"`, 1)},
		{"a port that is none", strings.Replace(whole, `"slug"`, `"expose":["70000"],"slug"`, 1)},
		{"no provider", strings.Replace(whole, `"local"`, `""`, 1)},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStore(t)
			if err := s.SaveLease(lease("cbx_000000000001", "demo", "api")); err != nil {
				t.Fatal(err)
			}
			if err := s.WriteFile([]byte(test.content), "leases", "cbx_00000000000a.json"); err != nil {
				t.Fatal(err)
			}
			checkLeases(t, s, []string{"cbx_000000000001"}, []string{"cbx_00000000000a.json"})
			checkLeases(t, s, []string{"cbx_000000000001"}, nil)
			checkContent(t, s.Path("leases", "cbx_00000000000a.json.broken"), test.content)
		})
	}
	s := newStore(t) // and the whole one is in order
	if err := s.WriteFile([]byte(whole), "leases", "cbx_00000000000a.json"); err != nil {
		t.Fatal(err)
	}
	checkLeases(t, s, []string{"cbx_00000000000a"}, nil)
}

func TestLeaseOfANewerVersionStays(t *testing.T) {
	s := newStore(t)
	newer := `{"version":2,"box":"something else"}`
	if err := s.WriteFile([]byte(newer), "leases", "cbx_00000000000a.json"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		leases, broken, err := s.Leases()
		if err != nil || len(leases) != 0 || len(broken) != 1 || broken[0].Aside != "" || !strings.Contains(broken[0].Reason, "newer") {
			t.Errorf("leases %v, broken %+v, %v", leases, broken, err)
		}
	}
	checkContent(t, s.Path("leases", "cbx_00000000000a.json"), newer)
}

// A file that is in order must not be hidden because it could not be opened now.
func TestWhatIsBrokenForGood(t *testing.T) {
	path := func(err error) error { return &os.PathError{Op: "open", Path: "x", Err: err} }
	for _, test := range []struct {
		err  error
		want bool
	}{
		{errors.New("unexpected end of JSON input"), true},
		{path(syscall.EACCES), true},
		{path(syscall.EISDIR), true},
		{path(syscall.EMFILE), false},
		{path(syscall.EIO), false},
		{fmt.Errorf("format 2: %w", errNewer), false},
	} {
		if got := brokenForGood(test.err); got != test.want {
			t.Errorf("brokenForGood(%v) = %v", test.err, got)
		}
	}
}

func TestSetAsideLooksAgain(t *testing.T) {
	s := newStore(t)
	if err := s.SaveLease(lease("cbx_000000000001", "demo", "web")); err != nil {
		t.Fatal(err)
	}
	path := s.leasePath("cbx_000000000001")
	if aside := s.setAside(leasesFolder, path, func() error { return nil }); aside != "" {
		t.Errorf("a repaired file went to %s", aside)
	}
	checkTree(t, s, "leases/cbx_000000000001.json")
}

func TestUpdateLeaseLosesNothing(t *testing.T) {
	s := newStore(t)
	id := box.ID("cbx_000000000001")
	if err := s.SaveLease(lease(string(id), "demo", "web")); err != nil {
		t.Fatal(err)
	}
	const writers, rounds = 8, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			other := &Store{root: s.root} // as another process would have it
			for range rounds {
				_, err := other.UpdateLease(id, func(l *Lease) {
					n, _ := strconv.Atoi(l.Options["n"])
					l.Options = map[string]string{"n": strconv.Itoa(n + 1)}
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	l, err := s.Lease(id)
	if err != nil || l.Options["n"] != strconv.Itoa(writers*rounds) {
		t.Errorf("n = %s (%v), want %d", l.Options["n"], err, writers*rounds)
	}
}

func TestLeasesStampSeesEveryChange(t *testing.T) {
	s := newStore(t)
	seen := map[string]string{}
	look := func(when string) {
		t.Helper()
		stamp := s.LeasesStamp()
		if other, ok := seen[stamp]; ok {
			t.Errorf("stamp %s: the same after %q and %q", stamp, other, when)
		}
		seen[stamp] = when
		if again := s.LeasesStamp(); again != stamp {
			t.Errorf("after %q the stamp changes by itself: %s, %s", when, stamp, again)
		}
	}
	look("nothing")
	l := lease("cbx_000000000001", "demo", "web")
	for i := range 100 { // of the same size, many within one tick of the file system's clock
		l.Box.Note = fmt.Sprintf("%03d", i)
		if err := s.SaveLease(l); err != nil {
			t.Fatal(err)
		}
		look("save " + l.Box.Note)
	}
	if err := s.SaveLease(lease("cbx_000000000002", "demo", "api")); err != nil {
		t.Fatal(err)
	}
	look("second")
	if err := s.RemoveLease("cbx_000000000001"); err != nil {
		t.Fatal(err)
	}
	look("first removed")
	if _, err := s.Address(t.Context(), "demo", "web"); err != nil {
		t.Fatal(err)
	}
	if _, ok := seen[s.LeasesStamp()]; !ok {
		t.Error("an address changes the leases' stamp")
	}
}

func TestRemoveLeaseForgetsAll(t *testing.T) {
	s := newStore(t)
	stay, leave := lease("cbx_000000000001", "demo", "web"), lease("cbx_000000000002", "demo", "api")
	for _, l := range []Lease{stay, leave} {
		if err := s.SaveLease(l); err != nil {
			t.Fatal(err)
		}
		if _, err := s.NewKey(l.Box.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.Pin(string(l.Box.ID), newPublicKey(t)); err != nil {
			t.Fatal(err)
		}
	}
	unlock, err := s.LockLease(t.Context(), leave.Box.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !s.LeaseHeld(leave.Box.ID) || s.LeaseHeld(stay.Box.ID) {
		t.Error("LeaseHeld is wrong")
	}
	for range 2 { // the second finds nothing, which is fine
		if err := s.RemoveLease(leave.Box.ID); err != nil {
			t.Fatal(err)
		}
	}
	unlock()
	checkTree(t, s, "keys/cbx_000000000001", "keys/cbx_000000000001.pub", "known_hosts", "leases/cbx_000000000001.json")
	if keys, err := s.Pinned(string(leave.Box.ID)); err != nil || len(keys) != 0 {
		t.Errorf("still pinned: %v, %v", keys, err)
	}
	if keys, err := s.Pinned(string(stay.Box.ID)); err != nil || len(keys) != 1 {
		t.Errorf("the other's pin: %v, %v", keys, err)
	}
}

// A crash in the middle of RemoveLease, or before the key was made, leaves what
// the next RemoveLease can take.
func TestRemoveLeaseOfAHalf(t *testing.T) {
	s := newStore(t)
	l := lease("cbx_000000000001", "demo", "web")
	if err := s.SaveLease(l); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveLease(l.Box.ID); err != nil {
		t.Fatal(err)
	}
	checkTree(t, s)
}

func FuzzDecodeLease(f *testing.F) {
	f.Add([]byte(`{"version":1,"nonce":"n","box":{"id":"cbx_00000000000a","slug":"web","provider":"local"}}`))
	f.Add([]byte(`{"version":1e99}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := decodeLease("cbx_00000000000a", data)
		if err != nil {
			return
		}
		if l.Box.ID != "cbx_00000000000a" || box.CheckName("slug", l.Box.Slug) != nil || l.Version != LeaseVersion {
			t.Errorf("accepted %+v", l)
		}
		if l.Box.Crew != "" && box.CheckName("crew", l.Box.Crew) != nil {
			t.Errorf("accepted crew %q", l.Box.Crew)
		}
	})
}
