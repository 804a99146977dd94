package box

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"crabbox/internal/fault"
)

// Labels are what a provider stores with a box. The portable form holds
// everywhere: keys [a-z][a-z0-9-]{0,30}, values of [a-z0-9_-] up to 63
// characters (the strictest store is GCP's).
type Labels map[string]string

// The keys that crabbox sets itself; a user's --label may not use them.
const (
	KeyCrew    = "crew"
	KeyLease   = "crabbox-lease"
	KeyNonce   = "nonce"
	KeySlug    = "slug"
	KeyRole    = "role"
	KeyExpose  = "expose" // continued in expose2, expose3, ...
	KeyOwner   = "owner"
	KeyCreated = "created"
	KeyExpires = "expires"
)

const (
	maxLabelValue = 63
	lastSecond    = 253402300799 // of the year 9999, the last that JSON can hold
)

var (
	keyPattern    = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	valuePattern  = regexp.MustCompile(`^[a-z0-9_-]{0,63}$`)
	exposePattern = regexp.MustCompile(`^expose([2-9]|[1-9][0-9]+)?$`)
)

// CheckLabel tells whether key and value have the portable form.
func CheckLabel(key, value string) error {
	if !keyPattern.MatchString(key) {
		return fault.New(fault.Usage, "A label's key is a-z, then up to 30 of a-z, 0-9 and -.", "%q is not a label key", short(key))
	}
	if !valuePattern.MatchString(value) {
		return fault.New(fault.Usage, "A label's value is up to 63 of a-z, 0-9, _ and -.", "label %s: %q is not a label value", key, short(value))
	}
	return nil
}

// ReservedLabel tells whether crabbox sets this key itself.
func ReservedLabel(key string) bool {
	switch key {
	case KeyCrew, KeyLease, KeyNonce, KeySlug, KeyRole, KeyOwner, KeyCreated, KeyExpires:
		return true
	}
	return exposePattern.MatchString(key)
}

// Match tells whether l holds every pair of want; an empty want matches all.
func (l Labels) Match(want Labels) bool {
	for k, v := range want {
		if got, ok := l[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// AllLabels is what the provider stores for b: the user's labels and ours.
func (b Box) AllLabels(nonce string) Labels {
	l := Labels{}
	for k, v := range b.Labels {
		if !ReservedLabel(k) {
			l[k] = v
		}
	}
	set := func(key, value string) {
		if value != "" {
			l[key] = value
		}
	}
	set(KeyCrew, b.Crew)
	set(KeyLease, string(b.ID))
	set(KeyNonce, nonce)
	set(KeySlug, b.Slug)
	set(KeyRole, b.Role)
	set(KeyOwner, b.Owner)
	if !b.Created.IsZero() {
		set(KeyCreated, strconv.FormatInt(b.Created.Unix(), 10))
	}
	if !b.Expires.IsZero() {
		set(KeyExpires, strconv.FormatInt(b.Expires.Unix(), 10))
	}
	for i, value := range exposeValues(b.Expose) {
		key := KeyExpose
		if i > 0 {
			key += strconv.Itoa(i + 1)
		}
		set(key, value)
	}
	return l
}

// exposeValues packs ports as 8080-5432-53u into as few values as hold them.
func exposeValues(ports []Port) []string {
	var values []string
	for _, p := range ports {
		word := strconv.Itoa(int(p.Number))
		if p.Proto == UDP {
			word += "u"
		}
		last := len(values) - 1
		if last >= 0 && len(values[last])+1+len(word) <= maxLabelValue {
			values[last] += "-" + word
		} else {
			values = append(values, word)
		}
	}
	return values
}

// FromLabels reads back what AllLabels wrote, and the nonce. Labels are foreign
// input: any value of ours that does not parse makes the whole set an error,
// pairs that are not ours and not in portable form are left out.
func FromLabels(l Labels) (b Box, nonce string, err error) {
	if b.ID, err = ParseID(l[KeyLease]); err != nil {
		return Box{}, "", err
	}
	for _, name := range []struct {
		key string
		to  *string
	}{{KeyCrew, &b.Crew}, {KeySlug, &b.Slug}, {KeyRole, &b.Role}, {KeyOwner, &b.Owner}} {
		value, ok := l[name.key]
		if !ok {
			continue
		}
		if err := CheckName(name.key, value); err != nil {
			return Box{}, "", err
		}
		*name.to = value
	}
	if b.Created, err = unixLabel(l, KeyCreated); err != nil {
		return Box{}, "", err
	}
	if b.Expires, err = unixLabel(l, KeyExpires); err != nil {
		return Box{}, "", err
	}
	if b.Expose, err = portsFromLabels(l); err != nil {
		return Box{}, "", err
	}
	for k, v := range l {
		if !ReservedLabel(k) && CheckLabel(k, v) == nil {
			if b.Labels == nil {
				b.Labels = Labels{}
			}
			b.Labels[k] = v
		}
	}
	if nonce = l[KeyNonce]; !valuePattern.MatchString(nonce) {
		return Box{}, "", fmt.Errorf("label %s: malformed", KeyNonce)
	}
	return b, nonce, nil
}

func unixLabel(l Labels, key string) (time.Time, error) {
	value, ok := l[key]
	if !ok {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil || !valuePattern.MatchString(value) || seconds <= 0 || seconds > lastSecond {
		return time.Time{}, fmt.Errorf("label %s: %q is not a time in Unix seconds", key, short(value))
	}
	return time.Unix(seconds, 0).UTC(), nil
}

func portsFromLabels(l Labels) ([]Port, error) {
	var ports []Port
	read := 0
	for i := 1; ; i++ {
		key := KeyExpose
		if i > 1 {
			key += strconv.Itoa(i)
		}
		value, ok := l[key]
		if !ok {
			break
		}
		read++
		if !valuePattern.MatchString(value) {
			return nil, fmt.Errorf("label %s: malformed", key)
		}
		for word := range strings.SplitSeq(value, "-") {
			if number, isUDP := strings.CutSuffix(word, "u"); isUDP {
				word = number + "/udp"
			}
			p, err := ParsePort(word)
			if err != nil {
				return nil, fmt.Errorf("label %s: %w", key, err)
			}
			if !slices.Contains(ports, p) {
				ports = append(ports, p)
			}
		}
	}
	for key := range l {
		if exposePattern.MatchString(key) {
			read--
		}
	}
	if read != 0 {
		return nil, fmt.Errorf("labels %s: one between is missing", KeyExpose)
	}
	SortPorts(ports)
	return ports, nil
}
