package api

import (
	"fmt"
	"net"
	"strings"

	"crabbox/internal/box"
)

// Env is the crew as lines for a POSIX shell: CRABBOX_CREW; for each port that
// has a local address CRABBOX_CREW_<SLUG>_<PORT>='host:port'; and for each
// member whose ports are all at its own address CRABBOX_CREW_<SLUG>_HOST. The
// slug is in capitals with _ for -. No two ports share a variable: what stands
// behind the last _ is never part of a slug.
func (c Crew) Env() string {
	var b strings.Builder
	export := func(name, value string) { fmt.Fprintf(&b, "export %s=%s\n", name, shellWord(value)) }
	export("CRABBOX_CREW", c.Name)
	for _, m := range c.Members {
		prefix := "CRABBOX_CREW_" + strings.ToUpper(strings.ReplaceAll(m.Slug, "-", "_"))
		if len(m.FallbackPorts()) == 0 && m.bound() > 0 {
			export(prefix+"_HOST", m.Address)
		}
		for _, f := range m.Forwards {
			if f.Local != "" {
				export(fmt.Sprintf("%s_%d", prefix, f.Port.Number), f.Local)
			}
		}
	}
	return b.String()
}

// shellWord quotes s so that a POSIX shell reads it back as one word.
func shellWord(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Hosts is the crew as lines of a hosts file. Ports that could not be had at
// the member's own address are explained, since name and port do not lead to
// them; a member that has only such ports gets its name at 127.0.0.1.
func (c Crew) Hosts() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# crew %s\n", c.Name)
	for _, m := range c.Members {
		if m.Address == "" || len(m.Names) == 0 {
			continue
		}
		short := m.ShortName()
		fallbacks := m.FallbackPorts()
		for _, f := range fallbacks {
			fmt.Fprintf(&b, "# %s:%d does not work, since %s could not be had; it is at %s\n", short, f.Port.Number,
				net.JoinHostPort(m.Address, fmt.Sprint(f.Port.Number)), f.Local)
		}
		address := m.Address
		if len(fallbacks) > 0 && len(fallbacks) == m.bound() {
			address = "127.0.0.1"
		}
		names := append(append([]string{}, m.Names[1:]...), m.Names[0])
		fmt.Fprintf(&b, "%s  %s\n", address, strings.Join(names, " "))
	}
	return b.String()
}

// ShortName is the shortest name that leads to the member for certain.
func (m Member) ShortName() string {
	if len(m.Names) > 1 {
		return m.Names[1]
	}
	if len(m.Names) == 1 {
		return m.Names[0]
	}
	return m.Slug
}

// FallbackPorts are the forwards that are not at the member's own address and port.
func (m Member) FallbackPorts() []Forward {
	var all []Forward
	for _, f := range m.Forwards {
		if f.Fallback && f.Local != "" {
			all = append(all, f)
		}
	}
	return all
}

// bound counts the forwards that have a local address.
func (m Member) bound() int {
	n := 0
	for _, f := range m.Forwards {
		if f.Local != "" && f.Port.Proto == box.TCP {
			n++
		}
	}
	return n
}
