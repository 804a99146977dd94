package box

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"crabbox/internal/fault"
)

// Proto is a port's transport protocol.
type Proto string

// The protocols a port can have.
const (
	TCP Proto = "tcp"
	UDP Proto = "udp"
)

// Port is one port that a box exposes. It prints and parses as "8080" or "53/udp".
type Port struct {
	Number uint16
	Proto  Proto
}

func (p Port) String() string {
	s := strconv.Itoa(int(p.Number))
	if p.Proto == UDP {
		s += "/udp"
	}
	return s
}

// Target is the port as the box itself names it. By "localhost" a service that
// listens on ::1 alone is found as well as one on 127.0.0.1.
func (p Port) Target() string { return "localhost:" + strconv.Itoa(int(p.Number)) }

// MarshalJSON writes the printed form, so that scripts see what people see.
func (p Port) MarshalJSON() ([]byte, error) { return json.Marshal(p.String()) }

// UnmarshalJSON reads the printed form.
func (p *Port) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	parsed, err := ParsePort(s)
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// ParsePort reads "8080", "8080/tcp" or "53/udp"; anything else is wrong usage.
func ParsePort(s string) (Port, error) {
	number, proto, found := strings.Cut(strings.TrimSpace(s), "/")
	p := Port{Proto: TCP}
	if found {
		p.Proto = Proto(strings.ToLower(proto))
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n < 1 || n > 65535 || (p.Proto != TCP && p.Proto != UDP) {
		return Port{}, fault.New(fault.Usage, "A port is a number from 1 to 65535, with /udp behind it for UDP: --expose 8080,53/udp.", "%q is not a port", short(s))
	}
	p.Number = uint16(n)
	return p, nil
}

// ParsePorts reads any number of comma lists into one sorted list. A port that
// is named twice is wrong usage: it is a typing error for another one.
func ParsePorts(lists []string) ([]Port, error) {
	var ports []Port
	for _, list := range lists {
		for item := range strings.SplitSeq(list, ",") {
			p, err := ParsePort(item)
			if err != nil {
				return nil, err
			}
			if slices.Contains(ports, p) {
				return nil, fault.New(fault.Usage, "Name each port once.", "port %s is exposed twice", p)
			}
			ports = append(ports, p)
		}
	}
	SortPorts(ports)
	return ports, nil
}

// SortPorts orders by number, TCP before UDP.
func SortPorts(ports []Port) {
	slices.SortFunc(ports, func(a, b Port) int {
		if a.Number != b.Number {
			return int(a.Number) - int(b.Number)
		}
		return strings.Compare(string(a.Proto), string(b.Proto))
	})
}
