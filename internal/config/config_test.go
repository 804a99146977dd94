package config

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

var registry = provider.Registry{
	{Name: "local", Options: []provider.Option{
		{Name: "network", Default: "own", Values: []string{"own", "host"}},
		{Name: "max-boxes"},
	}},
	{Name: "ssh", Aliases: []string{"static"}, Options: []provider.Option{
		{Name: "hosts", List: true, ConfigOnly: true},
		{Name: "token", Secret: true},
		{Name: "verbose"},
	}},
}

// load reads content as config.yaml, with the environment given as pairs.
func load(t *testing.T, content string, env ...string) (*Config, error) {
	t.Helper()
	home := t.TempDir()
	if content != "" {
		if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load(environment(append(env, "CRABBOX_HOME", home)...), registry)
}

func environment(pairs ...string) func(string) string {
	vars := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		vars[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return vars[name] }
}

func mustLoad(t *testing.T, content string, env ...string) *Config {
	t.Helper()
	c, err := load(t, content, env...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func settings(t *testing.T, c *Config, name string) provider.Options {
	t.Helper()
	d, err := registry.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Settings(d)
	if err != nil {
		t.Fatal(err)
	}
	return s.Options
}

func checkFault(t *testing.T, err error, kind fault.Kind, what, remedy string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind || !strings.Contains(err.Error(), what) || !strings.Contains(fault.RemedyOf(err), remedy) {
		t.Errorf("error %v (kind %q, remedy %q), want kind %q with %q and a remedy with %q", err, fault.KindOf(err), fault.RemedyOf(err), kind, what, remedy)
	}
}

func TestLoadWithoutAnything(t *testing.T) {
	for _, content := range []string{"", "# only a comment\n", "---\n", "{}\n", "agent:\nproviders:\n"} {
		c := mustLoad(t, content)
		if c.Provider != "local" || c.TTL != provider.DefaultTTL || c.AgentIdle != DefaultAgentIdle {
			t.Errorf("%q: %+v", content, c)
		}
	}
}

func TestLoadTakesHomeFromTheEnvironment(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("HOME has another name there")
	}
	home := t.TempDir()
	c, err := Load(environment("HOME", home), registry)
	if err != nil || c.Home != filepath.Join(home, ".crabbox") || c.UserHome != home {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = Load(environment("HOME", home, "CRABBOX_HOME", filepath.Join(home, "x")), registry)
	if err != nil || c.Home != filepath.Join(home, "x") || c.UserHome != home {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = Load(environment("CRABBOX_HOME", "relative"), registry)
	if err != nil || !filepath.IsAbs(c.Home) || c.UserHome != "" {
		t.Errorf("%+v, %v", c, err)
	}
	_, err = Load(environment(), registry)
	checkFault(t, err, fault.Usage, "HOME", "CRABBOX_HOME")
	_, err = Load(environment("HOME", "here"), registry)
	checkFault(t, err, fault.Usage, "absolute", "HOME")
}

func TestFileGoesBeforeEnvironment(t *testing.T) {
	env := []string{"CRABBOX_PROVIDER", "static", "CRABBOX_TTL", "3h", "CRABBOX_LOCAL_NETWORK", "host", "CRABBOX_LOCAL_MAX_BOXES", "7",
		"CRABBOX_SSH_HOSTS", "a, b,c", "CRABBOX_SSH_TOKEN", "x=y"}
	c := mustLoad(t, "", env...)
	if c.Provider != "ssh" || c.TTL != 3*time.Hour {
		t.Errorf("environment alone: %+v", c)
	}
	o := settings(t, c, "local")
	if o["network"] != "host" || o["max-boxes"] != "7" {
		t.Errorf("environment alone: %v", o)
	}
	o = settings(t, c, "ssh")
	if got := strings.Join(o.Lines("hosts"), "|"); got != "a|b|c" || o["token"] != "x=y" {
		t.Errorf("environment alone: %v", o)
	}

	c = mustLoad(t, "provider: local\nttl: 90m\nagent: {idle: 1m}\nproviders:\n  local: {network: own, max-boxes: 3}\n  static:\n    hosts: [d, 'e f']\n    verbose: true\n", env...)
	if c.Provider != "local" || c.TTL != 90*time.Minute || c.AgentIdle != time.Minute {
		t.Errorf("with a file: %+v", c)
	}
	o = settings(t, c, "local")
	if o["network"] != "own" || o["max-boxes"] != "3" {
		t.Errorf("with a file: %v", o)
	}
	o = settings(t, c, "ssh")
	if got := strings.Join(o.Lines("hosts"), "|"); got != "d|e f" || o["verbose"] != "true" || o["token"] != "x=y" {
		t.Errorf("with a file: %v", o)
	}
}

func TestSettingsWithDefaults(t *testing.T) {
	c := mustLoad(t, "")
	s, err := c.Settings(registry[0])
	if err != nil || s.Options["network"] != "own" || s.Dir != filepath.Join(c.Home, "providers", "local") || s.Executable == "" || s.Log == nil || s.Getenv == nil {
		t.Errorf("%+v, %v", s, err)
	}
	if _, set := s.Options["max-boxes"]; set {
		t.Errorf("an option that nobody set: %v", s.Options)
	}
	s.Options["network"] = "changed"
	if again := settings(t, c, "local"); again["network"] != "own" {
		t.Error("settings share their options")
	}
}

func TestSettingsRefuseABadEnvironment(t *testing.T) {
	c := mustLoad(t, "", "CRABBOX_LOCAL_NETWORK", "hots")
	_, err := c.Settings(registry[0])
	checkFault(t, err, fault.Usage, "CRABBOX_LOCAL_NETWORK", "own, host")
	if _, err := c.Settings(registry[1]); err != nil {
		t.Errorf("another provider pays for it: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, test := range []struct{ name, content, what, remedy string }{
		{"unknown key", "ttl: 1h\nproviderr: local\n", "config.yaml:2: ", "Did you mean provider?"},
		{"unknown key in agent", "agent:\n  idel: 1m\n", "config.yaml:2: agent has no key", "Did you mean idle?"},
		{"unknown provider section", "providers:\n  locl:\n    x: 1\n", "config.yaml:2: ", "Did you mean local?"},
		{"unknown option", "providers:\n  local:\n    netwrk: own\n", "config.yaml:3: ", "Did you mean network?"},
		{"impossible value", "providers:\n  local:\n    network: hots\n", "config.yaml:3: ", "own, host"},
		{"unknown provider", "\nprovider: moon\n", "config.yaml:2: ", "local, ssh"},
		{"ttl that is none", "ttl: soon\n", "config.yaml:1: ", "90m"},
		{"ttl without a unit", "ttl: 5\n", "config.yaml:1: ", "90m"},
		{"ttl below zero", "ttl: -1h\n", "config.yaml:1: ", "90m"},
		{"idle that is none", "agent:\n  idle: x\n", "config.yaml:2: ", "90m"},
		{"list where one value belongs", "ttl: [1h]\n", "config.yaml:1: ", "one value"},
		{"list for a single option", "providers:\n  ssh:\n    token: [a]\n", "config.yaml:3: ", "one value"},
		{"mapping for an option", "providers:\n  ssh:\n    hosts:\n      - {a: b}\n", "config.yaml:4: ", "one value"},
		{"item of several lines", "providers:\n  ssh:\n    hosts: [\"a\\nb\"]\n", "config.yaml:3: ", "line of its own"},
		{"value missing", "provider:\n", "config.yaml:1: ", "one value"},
		{"section is a value", "providers: local\n", "config.yaml:1: providers is not a mapping", "KEY: VALUE"},
		{"file is a list", "- ttl\n", "config.yaml:1: the file is not a mapping", "KEY: VALUE"},
		{"key twice", "ttl: 1h\nttl: 2h\n", "config.yaml:2: ", "Keep one"},
		{"key that is a list", "[a]: b\n", "config.yaml:1: ", "Known keys: agent, provider, providers, ttl"},
		{"syntax", "ttl: 1h\nprovider: [\n", "line ", "Correct the file"},
		{"tab", "agent:\n\tidle: 1m\n", "line 2", "Correct the file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := load(t, test.content)
			checkFault(t, err, fault.Usage, test.what, test.remedy)
		})
	}
	_, err := load(t, "", "CRABBOX_PROVIDER", "sssh")
	checkFault(t, err, fault.Usage, "CRABBOX_PROVIDER", "Did you mean ssh?")
	_, err = load(t, "", "CRABBOX_TTL", "0s")
	checkFault(t, err, fault.Usage, "CRABBOX_TTL", "90m")
}

func TestLoadOfAFileThatCannotBeRead(t *testing.T) {
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, "config.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Load(environment("CRABBOX_HOME", home), registry)
	checkFault(t, err, fault.Failed, "config.yaml", "readable")
	if errors.Is(err, fault.Usage) {
		t.Error("that is not wrong usage")
	}
}

func TestLoadFollowsYAMLAliases(t *testing.T) {
	c := mustLoad(t, "ttl: &long 9h\nagent: {idle: *long}\n")
	if c.TTL != 9*time.Hour || c.AgentIdle != 9*time.Hour {
		t.Errorf("%+v", c)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("providers:\n  ssh:\n    hosts: [a]\n")
	f.Add("a: &a [*a]\n")
	f.Add("<<: {ttl: 1h}\n")
	f.Fuzz(func(t *testing.T, content string) {
		c, err := load(t, content)
		if err == nil && (c.TTL <= 0 || c.AgentIdle <= 0 || c.Provider != "local" && c.Provider != "ssh") {
			t.Errorf("accepted %+v", c)
		}
	})
}
