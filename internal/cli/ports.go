package cli

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"time"

	"crabbox/internal/agent/api"
	"crabbox/internal/box"
	"crabbox/internal/fault"
)

// trouble is a member or a port that cannot be used now.
type trouble struct {
	who    string // "web" or "web port 8080"
	reason string
	remedy string
	// final: waiting does not help by itself.
	final bool
	// mute: nothing listens on the port yet; waiting may help.
	mute bool
}

// troubles names all that cannot be used. A member whose link is not up stands
// for its ports.
func troubles(c api.Crew) []trouble {
	var all []trouble
	for _, p := range c.Problems {
		all = append(all, trouble{who: "crew " + c.Name, reason: p, final: true})
	}
	for _, m := range c.Members {
		if m.State != api.LinkUp {
			all = append(all, trouble{who: m.Slug, reason: cmp.Or(m.Reason, "the link is "+string(m.State)), remedy: m.Remedy, final: stopped(m)})
			continue
		}
		for _, f := range m.Forwards {
			if f.State == api.PortUsable {
				continue
			}
			t := trouble{who: m.Slug + " port " + f.Port.String(), reason: forwardText(f)}
			switch f.State {
			case api.PortRefused:
				t.mute = true
			case api.PortProhibited, api.PortUnbound, api.Unsupported:
				t.final = true
			}
			all = append(all, t)
		}
	}
	return all
}

// stopped tells whether the member's link has stopped trying.
func stopped(m api.Member) bool { return m.State == api.LinkRefused || m.State == api.LinkGone }

// settled tells whether looking longer makes no difference. With wait, ports
// where nothing listens yet are worth waiting for.
func settled(c api.Crew, wait bool) bool {
	for _, t := range troubles(c) {
		if !t.final && (wait || !t.mute) {
			return false
		}
	}
	return true
}

// fresh tells whether the crew's first attempts are still under way, so that a
// moment later there is something to say.
func fresh(c api.Crew) bool {
	for _, m := range c.Members {
		if m.State == api.LinkConnecting && m.Reason == "" {
			return true
		}
		for _, f := range m.Forwards {
			if m.State == api.LinkUp && f.State == api.PortUnproven {
				return true
			}
		}
	}
	return false
}

// shortcomings names what is not usable and returns the fault to end with, nil
// when all is well.
func (a *app) shortcomings(c api.Crew) error {
	all := troubles(c)
	for _, t := range all {
		a.out.warn("%s: %s", t.who, t.reason)
		a.out.advise(t.remedy)
	}
	if len(all) == 0 {
		return nil
	}
	return fault.New(fault.Partial, "crabbox doctor --crew "+c.Name+" says more.", "crew %s is not usable in all parts", c.Name)
}

// forwardText tells a forward's state in words.
func forwardText(f api.Forward) string {
	var text string
	switch f.State {
	case api.PortUsable:
		return "usable at " + f.Local
	case api.PortRefused:
		return "nothing listens there on the box"
	case api.PortUnproven:
		return "being tried"
	case api.PortDown:
		return "the link is down"
	case api.PortProhibited:
		return "the box's SSH server forbids forwarding (AllowTcpForwarding, PermitOpen)"
	case api.PortUnbound:
		text = "no local address could be had"
	default:
		text = string(f.State)
	}
	if f.Reason != "" {
		text += ": " + f.Reason
	}
	return text
}

// linkText tells a link's state in words.
func linkText(m api.Member) string {
	text := string(m.State)
	if m.State == api.LinkGone && m.Reason != "" {
		return m.Reason
	}
	if m.RoundTrip > 0 && m.State == api.LinkUp {
		text += fmt.Sprintf(", %.1f ms round trip", m.RoundTrip*1000)
	}
	switch m.Heals {
	case 0:
	case 1:
		text += ", healed once"
	default:
		text += fmt.Sprintf(", healed %d times", m.Heals)
	}
	if m.Reason != "" && m.State != api.LinkUp {
		text += ": " + m.Reason
	}
	if !m.NextTry.IsZero() && m.State != api.LinkUp {
		text += ", next try at " + m.NextTry.Local().Format(time.TimeOnly)
	}
	return text
}

// portName is how a person names a forward: web.cbx:8080.
func portName(m api.Member, f api.Forward) string {
	name := net.JoinHostPort(m.ShortName(), strconv.Itoa(int(f.Port.Number)))
	if f.Port.Proto == box.UDP {
		name += "/udp"
	}
	return name
}

// portTable is the table of forwards; a member that has none, or whose link is
// not up, has a row that says so.
func portTable(c api.Crew) *table {
	t := &table{head: []string{"NAME", "LOCAL ADDRESS", "OPEN", "TOTAL", "IN", "OUT", "STATE"}}
	for _, m := range c.Members {
		if m.State != api.LinkUp || len(m.Forwards) == 0 {
			tone := doubt
			switch {
			case stopped(m):
				tone = bad
			case m.State == api.LinkUp:
				tone = good
			}
			t.row(m.ShortName(), m.Address, "", "", "", "", cell{linkText(m), tone})
		}
		for _, f := range m.Forwards {
			state := cell{forwardText(f), doubt}
			switch f.State {
			case api.PortUsable:
				state = cell{"usable", good}
				if f.Fallback {
					state.text = "usable (not at its own address)"
				}
			case api.PortProhibited, api.PortUnbound, api.Unsupported:
				state.tone = bad
			}
			if f.Strangers > 0 {
				state.text += fmt.Sprintf("; calls of other users turned away: %d", f.Strangers)
			}
			t.row(portName(m, f), f.Local, f.Open, f.Total, size(f.BytesIn), size(f.BytesOut), state)
		}
	}
	return t
}
