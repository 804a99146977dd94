package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"crabbox/internal/fault"
)

// anyBox draws a box as Warmup could make it.
func anyBox(r *rand.Rand) Box {
	b := Box{ID: NewID(), Slug: NewSlug(), Created: time.Unix(r.Int64N(4e9)+1, 0).UTC()}
	if r.IntN(2) == 0 {
		b.Crew = strings.Repeat("c", 1+r.IntN(MaxName))
	}
	if r.IntN(2) == 0 {
		b.Role, b.Owner = "front-end", OwnerName("Ann.Lee@example.com")
	}
	if r.IntN(2) == 0 {
		b.Expires = b.Created.Add(time.Duration(r.IntN(1e6)) * time.Second)
	}
	for range r.IntN(4) {
		if b.Labels == nil {
			b.Labels = Labels{}
		}
		b.Labels["k"+strconv.Itoa(r.IntN(10))] = strings.Repeat("v", r.IntN(64))
	}
	seen := map[Port]bool{}
	for range r.IntN(60) {
		p := Port{Number: uint16(1 + r.IntN(65535)), Proto: TCP}
		if r.IntN(3) == 0 {
			p.Proto = UDP
		}
		if !seen[p] {
			seen[p] = true
			b.Expose = append(b.Expose, p)
		}
	}
	SortPorts(b.Expose)
	return b
}

func TestLabelsRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		want, nonce := anyBox(r), NewNonce()
		labels := want.AllLabels(nonce)
		for key, value := range labels {
			if err := CheckLabel(key, value); err != nil {
				t.Fatalf("%+v: %v", want, err)
			}
		}
		got, gotNonce, err := FromLabels(labels)
		if err != nil || gotNonce != nonce || !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v, %q, %v\nwant %+v, %q", got, gotNonce, err, want, nonce)
		}
		if !labels.Match(want.Labels) || !labels.Match(nil) || !labels.Match(Labels{KeyLease: string(want.ID)}) {
			t.Fatalf("%v does not match itself", labels)
		}
	}
}

func TestManyPortsContinueInMoreLabels(t *testing.T) {
	b := Box{ID: NewID()}
	for n := range 100 {
		b.Expose = append(b.Expose, Port{Number: uint16(10001 + n), Proto: TCP})
	}
	labels := b.AllLabels("")
	if labels["expose"] == "" || labels["expose10"] == "" || labels["expose11"] != "" {
		t.Errorf("labels %v", labels)
	}
	got, _, err := FromLabels(labels)
	if err != nil || len(got.Expose) != 100 {
		t.Errorf("%d ports, %v", len(got.Expose), err)
	}
	delete(labels, "expose4")
	if _, _, err := FromLabels(labels); err == nil {
		t.Error("a lost label goes unseen")
	}
}

func TestFromLabelsRefuses(t *testing.T) {
	good := Labels{KeyLease: "cbx_0123456789ab", KeySlug: "web", KeyNonce: "0123"}
	if _, _, err := FromLabels(good); err != nil {
		t.Fatal(err)
	}
	for _, change := range []Labels{
		{KeyLease: ""}, {KeyLease: "cbx_0123456789AB"}, {KeyLease: "../x"},
		{KeySlug: ""}, {KeySlug: "a b"}, {KeyCrew: "\x1b[2J"}, {KeyRole: "A"}, {KeyOwner: "ann@example"},
		{KeyNonce: "$(rm)"}, {KeyNonce: strings.Repeat("x", 64)},
		{KeyExpose: ""}, {KeyExpose: "0"}, {KeyExpose: "65536"}, {KeyExpose: "80-"}, {KeyExpose: "80--81"},
		{KeyExpose: "80/udp"}, {KeyExpose: " 80"}, {KeyExpose: "u"}, {KeyExpose: "http"}, {"expose2": "80"},
		{KeyCreated: "x"}, {KeyCreated: "0"}, {KeyCreated: "-5"}, {KeyCreated: "+5"}, {KeyExpires: "99999999999999"}, {KeyExpires: "1e9"},
	} {
		labels := Labels{}
		for _, from := range []Labels{good, change} {
			for k, v := range from {
				labels[k] = v
			}
		}
		if b, _, err := FromLabels(labels); err == nil {
			t.Errorf("%q gives %+v", change, b)
		}
	}
}

func TestFromLabelsLeavesForeignPairsOut(t *testing.T) {
	b, _, err := FromLabels(Labels{
		KeyLease: "cbx_0123456789ab", "team": "core", "Name": "x", "aws:tag": "x", "note": "two words", "esc": "\x1b[0m",
	})
	if err != nil || !reflect.DeepEqual(b.Labels, Labels{"team": "core"}) {
		t.Errorf("labels %v, %v", b.Labels, err)
	}
}

// A label of ours cannot be slipped in as one of the user's.
func TestAllLabelsHasNoRoomForForgery(t *testing.T) {
	b := Box{ID: NewID(), Labels: Labels{KeyCrew: "other", KeyNonce: "x", "expose3": "22", "team": "core"}}
	if l := b.AllLabels(""); len(l) != 2 || l["team"] != "core" || l[KeyLease] != string(b.ID) {
		t.Errorf("labels %v", l)
	}
}

func TestCheckLabel(t *testing.T) {
	for _, good := range [][2]string{{"a", ""}, {"team-2", "core_1-x"}, {"a" + strings.Repeat("b", 30), strings.Repeat("v", 63)}} {
		if err := CheckLabel(good[0], good[1]); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range [][2]string{
		{"", "x"}, {"A", "x"}, {"1a", "x"}, {"-a", "x"}, {"a_b", "x"}, {"a" + strings.Repeat("b", 31), "x"},
		{"a", "X"}, {"a", "x y"}, {"a", "é"}, {"a", "x\n"}, {"a\n", "x"}, {"a", strings.Repeat("v", 64)},
	} {
		if err := CheckLabel(bad[0], bad[1]); !errors.Is(err, fault.Usage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestReservedLabel(t *testing.T) {
	for key, want := range map[string]bool{
		"crew": true, "crabbox-lease": true, "nonce": true, "slug": true, "role": true, "owner": true, "created": true, "expires": true,
		"expose": true, "expose2": true, "expose10": true, "expose1": false, "expose0": false, "exposed": false, "expose02": false, "team": false, "": false,
	} {
		if got := ReservedLabel(key); got != want {
			t.Errorf("ReservedLabel(%q) = %v", key, got)
		}
	}
}

func TestMatch(t *testing.T) {
	l := Labels{"a": "1", "b": ""}
	for _, test := range []struct {
		want Labels
		ok   bool
	}{{nil, true}, {Labels{"a": "1"}, true}, {Labels{"a": "2"}, false}, {Labels{"b": ""}, true}, {Labels{"c": ""}, false}, {Labels{"a": "1", "c": "x"}, false}} {
		if l.Match(test.want) != test.ok {
			t.Errorf("Match(%v) = %v", test.want, !test.ok)
		}
	}
}

func FuzzFromLabels(f *testing.F) {
	f.Add("cbx_0123456789ab", "web", "8080-53u", "1800000000")
	f.Fuzz(func(t *testing.T, id, slug, expose, expires string) {
		b, _, err := FromLabels(Labels{KeyLease: id, KeySlug: slug, KeyExpose: expose, KeyExpires: expires})
		if err != nil {
			return
		}
		if CheckName("slug", b.Slug) != nil || len(b.Expose) == 0 {
			t.Errorf("accepted %+v", b)
		}
		if _, err := json.Marshal(b); err != nil {
			t.Errorf("cannot be stored: %v", err)
		}
		again, _, err := FromLabels(b.AllLabels(""))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(b) {
			t.Errorf("%+v comes back as %+v, %v", b, again, err)
		}
	})
}
