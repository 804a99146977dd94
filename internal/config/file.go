package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

// keys says what each key of a mapping does with its value.
type keys map[string]func(value *yaml.Node) error

// file is config.yaml while it is read.
type file struct{ path string }

// readFile reads config.yaml into c. The keys it may hold are this one table.
func (c *Config) readFile(path string, providers provider.Registry) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.New(fault.Failed, "Make it readable for you, or set CRABBOX_HOME to a folder of your own.", "read the configuration: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return fault.New(fault.Usage, "Correct the file, or remove it.", "%s: %w", path, err)
	}
	if len(document.Content) == 0 {
		return nil // empty, or comments only
	}
	f := file{path}
	return f.mapping(document.Content[0], "", keys{
		"provider": func(n *yaml.Node) error {
			name, err := f.scalar(n)
			if err != nil {
				return err
			}
			return c.setProvider(f.at(n), name, providers)
		},
		"ttl": func(n *yaml.Node) error {
			value, err := f.scalar(n)
			if err != nil {
				return err
			}
			return setDuration(&c.TTL, f.at(n), value)
		},
		"agent": func(n *yaml.Node) error {
			return f.mapping(n, "agent", keys{"idle": func(n *yaml.Node) error {
				value, err := f.scalar(n)
				if err != nil {
					return err
				}
				return setDuration(&c.AgentIdle, f.at(n), value)
			}})
		},
		"providers": func(n *yaml.Node) error {
			sections := keys{}
			for _, d := range providers {
				read := func(n *yaml.Node) error { return c.readSection(f, n, d) }
				for _, name := range append([]string{d.Name}, d.Aliases...) {
					sections[name] = read
				}
			}
			return f.mapping(n, "providers", sections)
		},
	})
}

// readSection reads providers.<name>.
func (c *Config) readSection(f file, n *yaml.Node, d provider.Descriptor) error {
	options := c.sections[d.Name]
	if options == nil {
		options = provider.Options{}
		c.sections[d.Name] = options
	}
	known := keys{}
	for _, o := range d.Options {
		known[o.Name] = func(n *yaml.Node) error {
			values, err := f.values(n, o.List)
			if err != nil {
				return err
			}
			for _, value := range values {
				if err := d.Check(f.at(n), o.Name, value); err != nil {
					return err
				}
			}
			options[o.Name] = strings.Join(values, "\n")
			return nil
		}
	}
	return f.mapping(n, "providers."+d.Name, known)
}

// mapping gives each value of a mapping to its key's function. An empty value
// is an empty mapping.
func (f file) mapping(n *yaml.Node, section string, known keys) error {
	n = resolve(n)
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		what := section
		if what == "" {
			what = "the file"
		}
		return fault.New(fault.Usage, "It holds lines of the form KEY: VALUE.", "%s: %s is not a mapping", f.at(n), what)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read := known[key.Value]
		if read == nil || key.Kind != yaml.ScalarNode {
			return f.unknown(key, section, slices.Sorted(maps.Keys(known)))
		}
		if seen[key.Value] {
			return fault.New(fault.Usage, "Keep one of them.", "%s: key %s stands there twice", f.at(key), key.Value)
		}
		seen[key.Value] = true
		if err := read(value); err != nil {
			return err
		}
	}
	return nil
}

func (f file) unknown(key *yaml.Node, section string, known []string) error {
	remedy := "Known keys: " + strings.Join(known, ", ") + "."
	if len(known) == 0 {
		remedy = "It has no keys."
	}
	if near := provider.Nearest(key.Value, known); near != "" {
		remedy = "Did you mean " + near + "? " + remedy
	}
	if section == "" {
		return fault.New(fault.Usage, remedy, "%s: there is no key %q", f.at(key), key.Value)
	}
	return fault.New(fault.Usage, remedy, "%s: %s has no key %q", f.at(key), section, key.Value)
}

// values reads one value, or several where the option takes a list.
func (f file) values(n *yaml.Node, list bool) ([]string, error) {
	n = resolve(n)
	if n.Kind != yaml.SequenceNode {
		value, err := f.scalar(n)
		return []string{value}, err
	}
	if !list {
		return nil, fault.New(fault.Usage, "Write one value.", "%s: this option takes no list", f.at(n))
	}
	var values []string
	for _, item := range n.Content {
		value, err := f.scalar(item)
		if err != nil {
			return nil, err
		}
		if strings.Contains(value, "\n") {
			return nil, fault.New(fault.Usage, "Write each item on a line of its own.", "%s: an item of a list has several lines", f.at(item))
		}
		values = append(values, value)
	}
	return values, nil
}

// scalar reads a string, number or bool as it is written.
func (f file) scalar(n *yaml.Node) (string, error) {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return "", fault.New(fault.Usage, "Give it one value, or remove the key.", "%s: a single value is expected here", f.at(n))
	}
	return n.Value, nil
}

// at says where in the file a node is.
func (f file) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", f.path, n.Line) }

// resolve follows a YAML alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}
