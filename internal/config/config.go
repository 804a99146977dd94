// Package config reads the user's settings once: config.yaml under CRABBOX_HOME
// and the environment. Each room gets its own section; nobody else reads files
// or variables.
package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

// What holds when nobody says anything.
const (
	DefaultProvider  = "local"
	DefaultAgentIdle = 10 * time.Minute
)

// Config is everything that a person has set. It does not change after Load.
type Config struct {
	Home     string // CRABBOX_HOME, or ~/.crabbox
	UserHome string // "" when HOME is unset and CRABBOX_HOME is not
	// Provider is the default provider (provider: in config.yaml, CRABBOX_PROVIDER); "local" when unset.
	Provider string
	// TTL is the default lifetime (ttl:, CRABBOX_TTL).
	TTL time.Duration
	// AgentIdle is how long the agent stays with nothing connected (agent.idle:).
	AgentIdle time.Duration

	getenv   func(string) string
	sections map[string]provider.Options // providers.<name> of config.yaml
}

// Load reads the configuration. getenv is os.Getenv or a test's. Unknown keys
// and values that do not parse are wrong usage, with file, line and the nearest
// known key. A missing file is no error. HOME unset and CRABBOX_HOME unset is
// wrong usage.
//
// As with options, config.yaml goes before the environment.
func Load(getenv func(string) string, providers provider.Registry) (*Config, error) {
	c := &Config{
		Provider: DefaultProvider, TTL: provider.DefaultTTL, AgentIdle: DefaultAgentIdle,
		getenv: getenv, sections: map[string]provider.Options{},
	}
	if err := c.findHome(); err != nil {
		return nil, err
	}
	if err := c.readEnvironment(providers); err != nil {
		return nil, err
	}
	if err := c.readFile(filepath.Join(c.Home, "config.yaml"), providers); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Config) findHome() error {
	const remedy = "Set HOME to your home folder, or CRABBOX_HOME to the folder for crabbox's state."
	variable := "HOME"
	if runtime.GOOS == "windows" {
		variable = "USERPROFILE"
	}
	c.UserHome = c.getenv(variable)
	if c.UserHome != "" && !filepath.IsAbs(c.UserHome) {
		return fault.New(fault.Usage, remedy, "%s is not an absolute path: %q", variable, c.UserHome)
	}
	home := c.getenv("CRABBOX_HOME")
	switch {
	case home == "" && c.UserHome == "":
		return fault.New(fault.Usage, remedy, "neither CRABBOX_HOME nor %s is set", variable)
	case home == "":
		home = filepath.Join(c.UserHome, ".crabbox")
	}
	absolute, err := filepath.Abs(home)
	if err != nil {
		return fault.New(fault.Usage, remedy, "CRABBOX_HOME %q: %w", home, err)
	}
	c.Home = absolute
	return nil
}

func (c *Config) readEnvironment(providers provider.Registry) error {
	if name := c.getenv("CRABBOX_PROVIDER"); name != "" {
		if err := c.setProvider("CRABBOX_PROVIDER", name, providers); err != nil {
			return err
		}
	}
	if ttl := c.getenv("CRABBOX_TTL"); ttl != "" {
		return setDuration(&c.TTL, "CRABBOX_TTL", ttl)
	}
	return nil
}

func (c *Config) setProvider(where, name string, providers provider.Registry) error {
	d, err := providers.Find(name)
	if err != nil {
		return fault.New(fault.KindOf(err), "", "%s: %w", where, err)
	}
	c.Provider = d.Name
	return nil
}

func setDuration(to *time.Duration, where, value string) error {
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		return fault.New(fault.Usage, "Write a duration such as 90m or 8h.", "%s: %q is not a duration", where, value)
	}
	*to = d
	return nil
}

// Settings are what provider d is built with. An option's value is that of
// config.yaml, else of the environment, else its default; a lease's own -o goes
// before all of them and comes with its Request.
func (c *Config) Settings(d provider.Descriptor) (provider.Settings, error) {
	executable, err := os.Executable()
	if err != nil {
		return provider.Settings{}, fault.New(fault.Failed, "", "find the running program: %w", err)
	}
	options := provider.Options{}
	for _, o := range d.Options {
		if o.Default != "" {
			options[o.Name] = o.Default
		}
		variable := provider.EnvName(d.Name, o.Name)
		if value := c.getenv(variable); value != "" {
			if value, err = checkOption(d, o, variable, value); err != nil {
				return provider.Settings{}, err
			}
			options[o.Name] = value
		}
		if value, ok := c.sections[d.Name][o.Name]; ok {
			options[o.Name] = value
		}
	}
	return provider.Settings{
		Options:    options,
		Dir:        filepath.Join(c.Home, "providers", d.Name),
		UserHome:   c.UserHome,
		Executable: executable,
		Getenv:     c.getenv,
		Log:        slog.New(slog.DiscardHandler),
	}, nil
}

// checkOption checks one value from the environment. A list is written there
// with commas, or a line for each.
func checkOption(d provider.Descriptor, o provider.Option, where, value string) (string, error) {
	items := []string{value}
	if o.List {
		items = strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == '\n' })
	}
	for i, item := range items {
		if o.List {
			items[i] = strings.TrimSpace(item)
		}
		if err := d.Check(where, o.Name, items[i]); err != nil {
			return "", err
		}
	}
	return strings.Join(items, "\n"), nil
}
