package provider

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"crabbox/internal/fault"
)

var boat = Descriptor{Name: "boat", Aliases: []string{"ship", "vessel"}, Options: []Option{
	{Name: "harbour"},
	{Name: "sails", Values: []string{"one", "two"}},
	{Name: "token", Secret: true},
	{Name: "fleet-hosts", List: true, ConfigOnly: true},
}}

// usage checks that err is wrong usage whose remedy has these words.
func usage(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	if !errors.Is(err, fault.Usage) {
		t.Errorf("%s: %v, want wrong usage", what, err)
		return
	}
	for _, word := range words {
		if !strings.Contains(fault.RemedyOf(err), word) {
			t.Errorf("%s: the remedy is %q, without %q", what, fault.RemedyOf(err), word)
		}
	}
}

func TestParseOptions(t *testing.T) {
	got, err := boat.ParseOptions([]string{"harbour=Kiel", "harbour=a=b", "sails=two"})
	if want := (Options{"harbour": "a=b", "sails": "two"}); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, want %v: the last one counts, up to the first =", got, err, want)
	}
	if got, err := boat.ParseOptions([]string{"harbour="}); err != nil || got["harbour"] != "" {
		t.Errorf("an empty value: %v, %v", got, err)
	}
	for arg, words := range map[string][]string{
		"harbour":       {"KEY=VALUE"},
		"":              {"KEY=VALUE"},
		"=Kiel":         {"crabbox providers boat"},
		"harbor=Kiel":   {"Did you mean harbour?", "crabbox providers boat"},
		"Harbour=Kiel":  {"Did you mean harbour?"},
		"sails=three":   {"one, two"},
		"sails=":        {"one, two"},
		"token=x":       {"CRABBOX_BOAT_TOKEN", "providers.boat.token"},
		"fleet-hosts=x": {"CRABBOX_BOAT_FLEET_HOSTS", "providers.boat.fleet-hosts"},
	} {
		_, err := boat.ParseOptions([]string{arg})
		usage(t, arg, err, words...)
	}
}

// What is not for the command line may stand elsewhere.
func TestCheck(t *testing.T) {
	for name, value := range map[string]string{"token": "x", "fleet-hosts": "a\nb", "harbour": ""} {
		if err := boat.Check("config.yaml", name, value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := boat.Check("config.yaml", "zzz", "x")
	usage(t, "zzz", err, "crabbox providers boat")
	if !strings.Contains(err.Error(), "config.yaml") || strings.Contains(fault.RemedyOf(err), "Did you mean") {
		t.Errorf("%v: %s", err, fault.RemedyOf(err))
	}
	usage(t, "none at all", Descriptor{Name: "raft"}.Check("-o", "x", "y"))
}

func TestSecretsAreNotRepeated(t *testing.T) {
	if _, err := boat.ParseOptions([]string{"token=hunter2"}); err == nil || strings.Contains(err.Error()+fault.RemedyOf(err), "hunter2") {
		t.Error(err)
	}
}

func TestLines(t *testing.T) {
	for value, want := range map[string][]string{
		"":             nil,
		"\n \n":        nil,
		"one":          {"one"},
		"one\n\ntwo\n": {"one", "two"},
	} {
		if got := (Options{"hosts": value}).Lines("hosts"); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
	if got := (Options(nil)).Lines("hosts"); len(got) > 0 {
		t.Errorf("no options: %q", got)
	}
}

func TestFind(t *testing.T) {
	r := Registry{{Name: "local"}, boat, {Name: "ssh"}}
	for name, want := range map[string]string{"local": "local", "boat": "boat", "ship": "boat", "vessel": "boat", "ssh": "ssh"} {
		if d, err := r.Find(name); err != nil || d.Name != want {
			t.Errorf("%s: %s, %v", name, d.Name, err)
		}
	}
	for name, words := range map[string][]string{
		"lokal":  {"Did you mean local?", "local, boat, ssh"},
		"":       {"local, boat, ssh"},
		"zeppel": {"Known providers: local, boat, ssh."},
	} {
		_, err := r.Find(name)
		usage(t, name, err, words...)
	}
	_, err := Registry(nil).Find("local")
	usage(t, "an empty list", err)
}

func TestNearest(t *testing.T) {
	known := []string{"network", "isolation", "host", "hosts"}
	for word, want := range map[string]string{
		"network":   "network",
		"netwrok":   "network",
		"NETWORK":   "network",
		"isolaton":  "isolation",
		"hots":      "hosts",
		"hostss":    "hosts",
		"hst":       "host",
		"image":     "",
		"x":         "",
		"":          "",
		"iiiiiiiii": "",
		"net":       "", // more than a typing error
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
	if got := Nearest("host", nil); got != "" {
		t.Errorf("nothing is known: %q", got)
	}
}

func TestEditDistance(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "abd", 1},
		{"abc", "ac", 1}, {"ac", "abc", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 2},
	} {
		if got := editDistance(row.a, row.b); got != row.want {
			t.Errorf("%q %q: %d, want %d", row.a, row.b, got, row.want)
		}
	}
}
