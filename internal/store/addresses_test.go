package store

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

func TestAddressIsStableAndOwn(t *testing.T) {
	s := newStore(t)
	first := map[string]netip.Addr{}
	taken := map[netip.Addr]string{}
	for i := range 300 {
		slug := "m" + strconv.Itoa(i)
		a, err := s.Address(t.Context(), "demo", slug)
		if err != nil {
			t.Fatal(err)
		}
		if !inPool(a) {
			t.Errorf("%s has %s, outside 127.0.64.0-127.0.127.255", slug, a)
		}
		if other := taken[a]; other != "" {
			t.Errorf("%s and %s share %s", slug, other, a)
		}
		taken[a], first[slug] = slug, a
	}
	again, err := Open(s.root)
	if err != nil {
		t.Fatal(err)
	}
	for slug, want := range first {
		if a, err := again.Address(t.Context(), "demo", slug); err != nil || a != want {
			t.Errorf("%s: %s, %v; want %s", slug, a, err, want)
		}
	}
	// Another machine comes to the same address by itself.
	a, err := newStore(t).Address(t.Context(), "demo", "m0")
	if err != nil || a != first["m0"] {
		t.Errorf("elsewhere m0 has %s (%v), want %s", a, err, first["m0"])
	}
}

func TestAddressMovesOnWhereAnotherHasIt(t *testing.T) {
	s := newStore(t)
	byIndex := map[int]string{}
	var one, two string
	for i := 0; two == ""; i++ {
		slug := "m" + strconv.Itoa(i)
		index := addressIndex("demo/" + slug)
		if other := byIndex[index]; other != "" {
			one, two = other, slug
		}
		byIndex[index] = slug
	}
	a, errA := s.Address(t.Context(), "demo", one)
	b, errB := s.Address(t.Context(), "demo", two)
	if errA != nil || errB != nil || a == b || b != nthAddress((addressIndex("demo/"+one)+1)%addresses) {
		t.Errorf("%s has %s (%v), %s has %s (%v): want the next one", one, a, errA, two, b, errB)
	}
	if err := s.ForgetMember(t.Context(), "demo", one); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Address(t.Context(), "demo", two); err != nil || again != b {
		t.Errorf("%s moved from %s to %s (%v)", two, b, again, err)
	}
}

func TestEveryAddressIsInThePoolOnce(t *testing.T) {
	seen := map[netip.Addr]bool{}
	for i := range addresses {
		a := nthAddress(i)
		if o := a.As4(); seen[a] || !inPool(a) || o[3] == 0 || o[3] == 255 {
			t.Fatalf("address %d is %s", i, a)
		}
		seen[a] = true
	}
	for _, out := range []string{"127.0.63.255", "127.0.128.1", "127.0.64.0", "127.0.64.255", "127.1.64.1", "10.0.64.1", "::1"} {
		if inPool(netip.MustParseAddr(out)) {
			t.Errorf("%s is in the pool", out)
		}
	}
}

func TestAddressesRunOut(t *testing.T) {
	b := addressBook{Members: map[string]*memberAddress{}}
	for i := range addresses {
		b.Members[strconv.Itoa(i)] = &memberAddress{Address: nthAddress(i)}
	}
	_, err := b.free("demo/web")
	checkFault(t, err, fault.Conflict, "Release")
	delete(b.Members, "77")
	if a, err := b.free("demo/web"); err != nil || a != nthAddress(77) {
		t.Errorf("the last free one: %s, %v", a, err)
	}
}

func TestAddressesOfManyAtOnce(t *testing.T) {
	s := newStore(t)
	var mu sync.Mutex
	got := map[string]map[netip.Addr]bool{}
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			slug := fmt.Sprintf("m%d", i%8)
			a, err := (&Store{root: s.root}).Address(t.Context(), "demo", slug)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if got[slug] == nil {
				got[slug] = map[netip.Addr]bool{}
			}
			got[slug][a] = true
		})
	}
	wg.Wait()
	taken := map[netip.Addr]bool{}
	for slug, all := range got {
		if len(all) != 1 {
			t.Errorf("%s has %v", slug, all)
		}
		for a := range all {
			if taken[a] {
				t.Errorf("%s is given twice", a)
			}
			taken[a] = true
		}
	}
}

func TestFallbackPortsAreRemembered(t *testing.T) {
	s := newStore(t)
	tcp, udp := box.Port{Number: 80, Proto: box.TCP}, box.Port{Number: 80, Proto: box.UDP}
	if p := s.FallbackPort("demo", "web", tcp); p != 0 {
		t.Errorf("before: %d", p)
	}
	for range 2 {
		if err := s.SetFallbackPort(t.Context(), "demo", "web", tcp, 40001); err != nil {
			t.Fatal(err)
		}
	}
	address, err := s.Address(t.Context(), "demo", "web")
	if err != nil {
		t.Fatal(err)
	}
	again, err := Open(s.root)
	if err != nil {
		t.Fatal(err)
	}
	if p := again.FallbackPort("demo", "web", tcp); p != 40001 {
		t.Errorf("port %d", p)
	}
	if p := again.FallbackPort("demo", "web", udp); p != 0 {
		t.Errorf("UDP has TCP's port %d", p)
	}
	for range 2 {
		if err := s.ForgetMember(t.Context(), "demo", "web"); err != nil {
			t.Fatal(err)
		}
	}
	if p := s.FallbackPort("demo", "web", tcp); p != 0 {
		t.Errorf("after ForgetMember: %d", p)
	}
	if a, err := s.Address(t.Context(), "demo", "web"); err != nil || a != address {
		t.Errorf("the hash gives %s (%v) instead of %s", a, err, address)
	}
}

func TestDamagedAddressesBeginAnew(t *testing.T) {
	s := newStore(t)
	want, err := s.Address(t.Context(), "demo", "web")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.WriteFile([]byte(`{"members":`), "crew", "addresses.json"); err != nil {
		t.Fatal(err)
	}
	if a, err := s.Address(t.Context(), "demo", "web"); err != nil || a != want {
		t.Errorf("%s, %v; want %s", a, err, want)
	}
	checkContent(t, s.Path("crew", "addresses.json.broken"), `{"members":`)

	foreign := `{"members":{"demo/web":{"address":"0.0.0.0"},"demo/api":{"address":"192.0.2.1"},"demo/db":null}}`
	if err := s.WriteFile([]byte(foreign), "crew", "addresses.json"); err != nil {
		t.Fatal(err)
	}
	for _, slug := range []string{"web", "api", "db"} {
		if a, err := s.Address(t.Context(), "demo", slug); err != nil || !inPool(a) {
			t.Errorf("%s listens on %s (%v)", slug, a, err)
		}
	}
}

func TestWanted(t *testing.T) {
	s := newStore(t)
	if all, broken, err := s.Wanted(); err != nil || len(all)+len(broken) != 0 {
		t.Fatalf("before: %v %v %v", all, broken, err)
	}
	for _, crew := range []string{"zoo", "demo"} {
		if err := s.SetWanted(Wanted{Crew: crew, ShareLocal: crew == "zoo", Provider: "local"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.WriteFile([]byte("{"), "wanted", "half.json"); err != nil {
		t.Fatal(err)
	}
	all, broken, err := s.Wanted()
	if err != nil || len(all) != 2 || all[0].Crew != "demo" || all[1].Crew != "zoo" || !all[1].ShareLocal || all[0].Provider != "local" {
		t.Errorf("wanted %+v, %v", all, err)
	}
	if len(broken) != 1 || broken[0].Aside != s.Path("wanted", "half.json.broken") {
		t.Errorf("broken %+v", broken)
	}
	for range 2 {
		if err := s.DropWanted("zoo"); err != nil {
			t.Fatal(err)
		}
	}
	if all, _, err := s.Wanted(); err != nil || len(all) != 1 || all[0].Crew != "demo" {
		t.Errorf("after DropWanted: %+v, %v", all, err)
	}
	for _, crew := range []string{"", "../x", "a/b", "A"} {
		if err := s.SetWanted(Wanted{Crew: crew}); !errors.Is(err, fault.Usage) {
			t.Errorf("SetWanted(%q) = %v", crew, err)
		}
		if err := s.DropWanted(crew); !errors.Is(err, fault.Usage) {
			t.Errorf("DropWanted(%q) = %v", crew, err)
		}
	}
	if _, err := os.Stat(s.Path("x.json")); err == nil {
		t.Error("a crew's name led out of the folder")
	}
}
