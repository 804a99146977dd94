package static

import (
	"context"
	"net"
	"os/user"
	"slices"
	"strings"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

// mostHops is the longest chain of jump hosts that is followed.
const mostHops = 8

// way is how to reach a machine today.
type way struct {
	endpoint box.Endpoint
	// place tells machines apart: its address with the hops before it, since
	// behind two gateways the same address is two machines; or the name it was
	// asked for by, where a ProxyCommand alone knows the address.
	place string
	note  string
}

// resolve finds the way to w in today's ssh_config.
func (p *Static) resolve(ctx context.Context, w wish) (way, error) {
	return p.follow(ctx, w, nil)
}

// follow is resolve for a machine that is reached on behalf of the machines in
// chain, each of which is the jump host of the one before it.
func (p *Static) follow(ctx context.Context, w wish, chain []string) (way, error) {
	s, err := p.settings(ctx, w)
	if err != nil {
		return way{}, err
	}
	e, t, err := p.endpoint(w, s)
	if err != nil {
		return way{}, err
	}
	me := e.User + "@" + e.Addrs[0]
	if slices.Contains(chain, me) || len(chain) > mostHops {
		return way{}, fault.New(fault.Usage, "Give the jump host a Host block of its own with ProxyJump none.",
			"the jump hosts of %s go in a circle or through more than %d hosts", w.Host, mostHops)
	}
	found := way{endpoint: e, place: e.Addrs[0], note: unheardNote(s)}
	switch jump, command := s.get(keyProxyJump), s.get(keyProxyCommand); {
	case jump != "":
		err = p.addJumps(ctx, &found, w, t, jump, append(chain, me))
	case command != "":
		found.endpoint.Dialer = box.DialCommand
		found.endpoint.Command = t.expand(command)
		found.place = "command " + w.Host
	}
	return found, err
}

// addJumps resolves the hops of a ProxyJump line, nearest first. The first one
// may have jump hosts of its own; a later one is reached through the one before
// it, whatever its own settings say, as with OpenSSH.
func (p *Static) addJumps(ctx context.Context, to *way, w wish, t tokens, line string, chain []string) error {
	for i, spec := range strings.Split(line, ",") {
		hop, err := parseWish(t.expand(strings.TrimSpace(spec)))
		if err != nil {
			return err
		}
		hop.Config = w.Config
		var found way
		if i == 0 {
			found, err = p.follow(ctx, hop, chain)
		} else {
			found, err = p.direct(ctx, hop)
		}
		if err != nil {
			return err
		}
		before := found.endpoint.Jump
		found.endpoint.Jump = nil
		to.endpoint.Jump = slices.Concat(to.endpoint.Jump, before, []box.Endpoint{found.endpoint})
	}
	if len(to.endpoint.Jump) > mostHops {
		return fault.New(fault.Usage, "Shorten the chain of jump hosts.", "host %s has more than %d jump hosts", w.Host, mostHops)
	}
	var places []string
	for _, hop := range to.endpoint.Jump {
		places = append(places, hop.Addrs[0])
	}
	to.place = strings.Join(append(places, to.place), " > ")
	return nil
}

// direct resolves a machine without its proxies.
func (p *Static) direct(ctx context.Context, w wish) (way, error) {
	s, err := p.settings(ctx, w)
	if err != nil {
		return way{}, err
	}
	e, _, err := p.endpoint(w, s)
	return way{endpoint: e}, err
}

// settings asks OpenSSH, or reads ssh_config ourselves where it is missing.
func (p *Static) settings(ctx context.Context, w wish) (settings, error) {
	if p.ssh != "" {
		return p.askSSH(ctx, w)
	}
	return p.readConfig(w)
}

// endpoint makes an endpoint out of settings, proxies left out.
func (p *Static) endpoint(w wish, s settings) (box.Endpoint, tokens, error) {
	port := s.get(keyPort)
	if err := checkPort(port); err != nil {
		return box.Endpoint{}, nil, err
	}
	host := s.get(keyHostName)
	if host == "" {
		host = w.Host
	}
	host = strings.ToLower(tokens{'%': "%", 'h': w.Host}.expand(host))
	if err := (wish{Host: host, User: s.get(keyUser)}).check(); err != nil {
		return box.Endpoint{}, nil, err
	}
	t := p.hostTokens(w, s, host)
	e := box.Endpoint{
		Dialer: box.DialTCP,
		Addrs:  []string{net.JoinHostPort(host, port)},
		User:   s.get(keyUser),
		Can:    box.CanAll,
		Identity: box.Identity{
			Files:        p.paths(t, s.list(keyIdentityFile)),
			Certificates: p.paths(t, s.list(keyCertificateFile)),
			Agent:        p.agent(t, s),
			Only:         s.yes(keyIdentitiesOnly),
		},
		HostKey: box.HostKey{
			Files:  p.paths(t, append(s.list(keyUserKnownHosts), s.list(keyGlobalKnown)...)),
			Alias:  strings.ToLower(s.get(keyHostKeyAlias)),
			Strict: s.yes(keyStrict),
		},
	}
	if w.Identity != "" {
		e.Identity.Files, e.Identity.Only = []string{w.Identity}, true
	}
	return e, t, nil
}

// agent is the socket of the ssh-agent to ask; without a setting it is
// SSH_AUTH_SOCK's, looked up at login.
func (p *Static) agent(t tokens, s settings) string {
	values := s[keyIdentityAgent]
	switch value := s.get(keyIdentityAgent); {
	case len(values) == 0:
		return "SSH_AUTH_SOCK"
	case value == "" || value == "SSH_AUTH_SOCK":
		return value
	case strings.HasPrefix(value, "$") && !strings.HasPrefix(value, "${"):
		return p.getenv(value[1:])
	default:
		return p.path(t, value)
	}
}

func unheardNote(s settings) string {
	if found := s.unheard(); len(found) > 0 {
		return "settings of your ssh_config that crabbox does not honour: " + strings.Join(found, ", ")
	}
	return ""
}

// account is the name and the number of the user that runs us.
func account() (name, uid string) {
	me, err := user.Current()
	if err != nil {
		return "", ""
	}
	name = me.Username
	if i := strings.LastIndexByte(name, '\\'); i >= 0 {
		name = name[i+1:] // Windows: DOMAIN\user
	}
	return name, me.Uid
}
