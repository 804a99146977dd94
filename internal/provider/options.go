package provider

import (
	"slices"
	"strings"

	"crabbox/internal/fault"
)

// Option is one setting that is particular to a provider: -o KEY=VALUE, or
// providers.<name>.<key> in config.yaml, or CRABBOX_<NAME>_<KEY>, in this order.
type Option struct {
	Name    string
	Help    string // one line, no full stop
	Default string
	Values  []string // when not empty, the only values accepted
	Secret  bool     // never shown, never stored with a lease, refused as -o
	List    bool     // config.yaml may hold a list; values are joined by a newline
	// ConfigOnly options make no sense for one lease and are refused as -o.
	ConfigOnly bool
}

// Options are a provider's settings by option name.
type Options map[string]string

// Lines returns the values of an option of kind List.
func (o Options) Lines(name string) []string {
	return slices.DeleteFunc(strings.Split(o[name], "\n"), func(s string) bool { return strings.TrimSpace(s) == "" })
}

// Option returns the option with this name.
func (d Descriptor) Option(name string) (Option, bool) {
	i := slices.IndexFunc(d.Options, func(o Option) bool { return o.Name == name })
	if i < 0 {
		return Option{}, false
	}
	return d.Options[i], true
}

// Check refuses a value that the provider does not know, naming the nearest
// option it does know. where says who set it ("-o", "config.yaml", ...).
func (d Descriptor) Check(where, name, value string) error {
	o, ok := d.Option(name)
	if !ok {
		remedy := "crabbox providers " + d.Name + " lists its options."
		if near := Nearest(name, d.optionNames()); near != "" {
			remedy = "Did you mean " + near + "? " + remedy
		}
		return fault.New(fault.Usage, remedy, "%s: provider %s has no option %q", where, d.Name, name)
	}
	if len(o.Values) > 0 && !slices.Contains(o.Values, value) {
		return fault.New(fault.Usage, "It takes one of: "+strings.Join(o.Values, ", ")+".", "%s: option %s of provider %s cannot be %q", where, name, d.Name, value)
	}
	return nil
}

// ParseOptions reads -o KEY=VALUE arguments for this provider.
func (d Descriptor) ParseOptions(args []string) (Options, error) {
	options := Options{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fault.New(fault.Usage, "Write it as -o KEY=VALUE.", "-o %q has no value", arg)
		}
		if err := d.Check("-o", name, value); err != nil {
			return nil, err
		}
		if o, _ := d.Option(name); o.Secret || o.ConfigOnly {
			return nil, fault.New(fault.Usage, "Set "+EnvName(d.Name, name)+" or providers."+d.Name+"."+name+" in config.yaml.", "-o %s: option %s of provider %s is not for the command line", name, name, d.Name)
		}
		options[name] = value
	}
	return options, nil
}

// EnvName is the environment variable of a provider's option.
func EnvName(provider, option string) string {
	return "CRABBOX_" + strings.ToUpper(strings.ReplaceAll(provider+"_"+option, "-", "_"))
}

func (d Descriptor) optionNames() []string {
	var names []string
	for _, o := range d.Options {
		names = append(names, o.Name)
	}
	return names
}
