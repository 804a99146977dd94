package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"crabbox/internal/fault"
)

func TestCheckName(t *testing.T) {
	long := strings.Repeat("a", MaxName)
	for _, good := range []string{"a", "7", "web", "web-1", "1-2", "a--b", long} {
		if err := CheckName("slug", good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, test := range []struct{ name, near string }{
		{"", ""},
		{"My Crew", "my-crew"},
		{"Web", "web"},
		{"a.b", "a-b"},
		{"🦀", ""},
		{"crab 🦀 box", "crab-box"},
		{"../x", "x"},
		{"-web-", "web"},
		{"a_b", "a-b"},
		{"a\nb", "a-b"},
		{"web\n", "web"},
		{"\x1b[2Jx", "2jx"},
		{"é", ""},
		{long + "a", long},
		{strings.Repeat("x.", 150), strings.TrimSuffix(strings.Repeat("x-", 32), "-")},
	} {
		err := CheckName("crew", test.name)
		if !errors.Is(err, fault.Usage) {
			t.Errorf("%q: %v", test.name, err)
			continue
		}
		remedy := fault.RemedyOf(err)
		if test.near == "" && strings.Contains(remedy, "Near it") || test.near != "" && !strings.Contains(remedy, "Near it: "+test.near+".") {
			t.Errorf("%q: remedy %q, want %q in it", test.name, remedy, test.near)
		}
		if text := err.Error(); len(text) > 100 || strings.ContainsAny(text, "\n\x1b") || !strings.Contains(text, "crew") {
			t.Errorf("%q: text %q", test.name, text)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"web", "My Crew", "ann@example.com", "🦀", "---", "a.b.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if near := nearName(s); near != "" && CheckName("slug", near) != nil {
			t.Errorf("near %q is %q, which is no name", s, near)
		}
		if owner := OwnerName(s); CheckName("owner", owner) != nil {
			t.Errorf("owner %q is %q", s, owner)
		}
		if CheckName("slug", s) == nil && nearName(s) != strings.Trim(collapse(s), "-") {
			t.Errorf("%q is a name, yet near it is %q", s, nearName(s))
		}
	})
}

// collapse makes one dash of several, as nearName does.
func collapse(s string) string {
	for strings.Contains(s, "--") {
		s = strings.ReplaceAll(s, "--", "-")
	}
	return s
}

func TestOwnerName(t *testing.T) {
	for in, want := range map[string]string{
		"Ann.Lee@example.com": "ann-lee", "root": "root", "": "unknown", "@x": "unknown", "日本": "unknown", "a b@c": "a-b",
	} {
		if got := OwnerName(in); got != want {
			t.Errorf("OwnerName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNewSlugIsAName(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		slug := NewSlug()
		if err := CheckName("slug", slug); err != nil {
			t.Fatal(err)
		}
		seen[slug] = true
	}
	if len(seen) < 500 {
		t.Errorf("only %d different ones of 1000", len(seen))
	}
}

func TestIDs(t *testing.T) {
	a, b := NewID(), NewID()
	if parsed, err := ParseID(string(a)); err != nil || parsed != a || a == b {
		t.Errorf("%s, %s: %v", a, b, err)
	}
	for _, s := range []string{"", "cbx_", "cbx_0123456789a", "cbx_0123456789abc", "cbx_0123456789aB", "CBX_0123456789ab", "cbx_0123456789ab\n", "cbx_../../../x"} {
		if _, err := ParseID(s); !errors.Is(err, fault.Usage) {
			t.Errorf("ParseID(%q): %v", s, err)
		}
	}
	if x, y := NewNonce(), NewNonce(); x == y || len(x) != 16 || CheckLabel(KeyNonce, x) != nil {
		t.Errorf("nonces %q, %q", x, y)
	}
}

func TestParsePort(t *testing.T) {
	for s, want := range map[string]Port{
		"1": {1, TCP}, "8080": {8080, TCP}, "65535": {65535, TCP}, "8080/tcp": {8080, TCP}, "53/udp": {53, UDP}, " 53/UDP ": {53, UDP},
	} {
		if got, err := ParsePort(s); err != nil || got != want {
			t.Errorf("ParsePort(%q) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0", "65536", "-1", "+1", "http", "80/sctp", "80/", "/udp", "80/udp/x", "8 0", "0x50", "1e3", "99999999999999999999", "80:80", "８０"} {
		if p, err := ParsePort(s); !errors.Is(err, fault.Usage) || !strings.Contains(fault.RemedyOf(err), "1 to 65535") {
			t.Errorf("ParsePort(%q) = %v, %v", s, p, err)
		}
	}
}

func FuzzParsePort(f *testing.F) {
	for _, s := range []string{"8080", "53/udp", "0", "65536", "http", "80/", " 1 "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePort(s)
		if err != nil {
			return
		}
		if again, err := ParsePort(p.String()); err != nil || again != p || p.Number == 0 {
			t.Errorf("%q gives %v, which gives %v, %v", s, p, again, err)
		}
		data, err := json.Marshal(p)
		var back Port
		if err != nil || json.Unmarshal(data, &back) != nil || back != p {
			t.Errorf("%v as JSON: %s, %v, %v", p, data, back, err)
		}
	})
}

func TestParsePorts(t *testing.T) {
	ports, err := ParsePorts([]string{"9090,53/udp", "80", " 53 , 443"})
	if err != nil || fmt.Sprint(ports) != "[53 53/udp 80 443 9090]" {
		t.Errorf("%v, %v", ports, err)
	}
	if ports, err := ParsePorts(nil); err != nil || ports != nil {
		t.Errorf("nothing: %v, %v", ports, err)
	}
	for _, lists := range [][]string{{""}, {"80,"}, {"80", "80"}, {"80,080"}, {"53/udp", "53/UDP"}, {"80;81"}} {
		if ports, err := ParsePorts(lists); !errors.Is(err, fault.Usage) {
			t.Errorf("%q: %v, %v", lists, ports, err)
		}
	}
}

func TestPortInJSON(t *testing.T) {
	var ports []Port
	if err := json.Unmarshal([]byte(`["8080", "53/udp"]`), &ports); err != nil || fmt.Sprint(ports) != "[8080 53/udp]" {
		t.Errorf("%v, %v", ports, err)
	}
	for _, bad := range []string{`[8080]`, `["http"]`, `[{}]`, `["0"]`} {
		if err := json.Unmarshal([]byte(bad), &ports); err == nil {
			t.Errorf("%s is taken for %v", bad, ports)
		}
	}
}

func TestExpired(t *testing.T) {
	end := time.Unix(1000, 0)
	b := Box{Expires: end}
	if b.Expired(end.Add(-time.Second)) || !b.Expired(end) || !b.Expired(end.Add(time.Second)) {
		t.Error("the end is not where Expires says")
	}
	if (Box{}).Expired(end) {
		t.Error("a box without an end has expired")
	}
}
