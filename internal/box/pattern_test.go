package box

import (
	"strings"
	"testing"
	"time"
)

func TestMatchPattern(t *testing.T) {
	for _, row := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "", false}, {"*", "", true}, {"?", "", false},
		{"web", "web", true}, {"web", "Web", false}, {"web", "web1", false}, {"web?", "web1", true}, {"web?", "web", false},
		{"*.example.com", "a.b.example.com", true}, {"*.example.com", "example.com", false},
		{"[127.0.0.*]:*", "[127.0.0.1]:2222", true}, {"10.*.1", "10.1.1.2", false},
		{"a*b?c", "axxbyc", true}, {"a*b?c", "abbc", true}, {"**a**", "bab", true}, {"a*", "a*", true},
	} {
		if got := MatchPattern(row.pattern, row.s); got != row.want {
			t.Errorf("%q %q: %v", row.pattern, row.s, got)
		}
	}
}

// A pattern made to be slow takes no time worth mentioning.
func TestMatchPatternIsQuick(t *testing.T) {
	began := time.Now()
	if MatchPattern(strings.Repeat("*a", 200)+"b", strings.Repeat("a", 2000)) {
		t.Error("matches")
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}

func FuzzMatchPattern(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern)+len(s) > 40 {
			return
		}
		if got, want := MatchPattern(pattern, s), slowMatch(pattern, s); got != want {
			t.Errorf("%q %q: %v, want %v", pattern, s, got, want)
		}
	})
}

// slowMatch is the definition.
func slowMatch(pattern, s string) bool {
	switch {
	case pattern == "":
		return s == ""
	case pattern[0] == '*':
		return slowMatch(pattern[1:], s) || (s != "" && slowMatch(pattern, s[1:]))
	default:
		return s != "" && (pattern[0] == '?' || pattern[0] == s[0]) && slowMatch(pattern[1:], s[1:])
	}
}
