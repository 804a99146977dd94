package static

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"crabbox/internal/fault"
)

// wish is a machine as a person names it. It is all that a record needs to find
// the way to it anew.
type wish struct {
	Host     string `json:"host"` // a name, an address, or a Host of ssh_config
	User     string `json:"user,omitempty"`
	Port     string `json:"port,omitempty"`
	Identity string `json:"identity,omitempty"` // absolute path
	Config   string `json:"config,omitempty"`   // absolute path
}

const hostRemedy = "Write it as [user@]host[:port]; an IPv6 address with a port needs brackets: [::1]:22."

// parseWish reads [user@]host[:port]. The user may hold an @ itself.
func parseWish(s string) (wish, error) {
	var w wish
	rest := strings.TrimPrefix(strings.TrimSpace(s), "ssh://")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		w.User, rest = rest[:at], rest[at+1:]
		if w.User == "" {
			return wish{}, fault.New(fault.Usage, hostRemedy, "host %q has an empty user", s)
		}
	}
	var err error
	switch _, notIP := netip.ParseAddr(rest); {
	case notIP == nil || !strings.Contains(rest, ":"):
		w.Host = rest
	case strings.HasPrefix(rest, "[") && strings.HasSuffix(rest, "]"):
		w.Host = rest[1 : len(rest)-1]
	default:
		w.Host, w.Port, err = net.SplitHostPort(rest)
		if err == nil && w.Port == "" {
			err = errors.New("its port is empty")
		}
	}
	if err != nil {
		return wish{}, fault.New(fault.Usage, hostRemedy, "host %q: %w", s, err)
	}
	return w, w.check()
}

// refine adds what other options say; what is part of the host comes first.
func (w *wish) refine(user, port string) error {
	if w.User == "" {
		w.User = user
	}
	if w.Port == "" {
		w.Port = port
	}
	return w.check()
}

// check refuses what OpenSSH refuses on its command line: host and user get
// into the shell line of a ProxyCommand.
func (w wish) check() error {
	if w.Host == "" || strings.HasPrefix(w.Host, "-") || !plain(w.Host, "\"'`$\\;&<>|(){},*?!#") {
		return fault.New(fault.Usage, hostRemedy, "%q is not a host", w.Host)
	}
	if strings.HasPrefix(w.User, "-") || !plain(w.User, "\"'`;&<>|(){}") || strings.HasSuffix(w.User, `\`) {
		return fault.New(fault.Usage, hostRemedy, "%q is not a user name", w.User)
	}
	if w.Port == "" {
		return nil
	}
	return checkPort(w.Port)
}

func checkPort(s string) error {
	if n, err := strconv.ParseUint(s, 10, 16); err != nil || n == 0 {
		return fault.New(fault.Usage, "A port is a number from 1 to 65535.", "%q is not a port", s)
	}
	return nil
}

// plain tells whether s has no control character, no white space and none of bad.
func plain(s, bad string) bool {
	return !strings.ContainsAny(s, bad) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
}
