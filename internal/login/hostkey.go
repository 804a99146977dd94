package login

import (
	"net"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

// hostCheck decides whether a host key is believed.
//
// A key that nobody knows is believed for the length of the handshake and
// pinned as soon as the host has said that it takes one of our keys (just
// before we sign), or when the login has succeeded in another way. A machine
// that is not ours, met for a moment at a recycled address, refuses our keys
// and so leaves no pin that would make the right machine look like an impostor.
type hostCheck struct {
	who      string // for messages
	pinName  string
	pins     Pins
	strict   bool
	exact    bool        // known is all that counts: given with the endpoint
	host     string      // what a certificate must be valid for
	known    []knownLine // keys that are believed
	portless []knownLine // keys known for the host without its port: good when equal
	cas      []knownLine // authorities whose certificates are believed
	revoked  []knownLine
	first    func(name string, key ssh.PublicKey)

	mu       sync.Mutex // guards below
	accepted bool       // check has said yes
	pending  ssh.PublicKey
	pinned   bool
}

// hostCheck collects what is known about t's host key.
func (d *Dialer) hostCheck(t Target) (*hostCheck, error) {
	e := t.Endpoint
	h := &hostCheck{who: t.title(), pinName: t.Name, pins: d.Pins, strict: e.HostKey.Strict, first: d.FirstContact}
	names := hostNames(e)
	h.host = names.principal
	if len(e.HostKey.Keys) > 0 {
		h.exact = true
		return h, h.takeExact(e.HostKey.Keys)
	}
	for _, line := range readKnownHosts(e.HostKey.Files, d.log()) {
		switch {
		case !line.matches(names.lookup):
			if names.portless != "" && line.marker == "" && line.matches(names.portless) {
				h.portless = append(h.portless, line)
			}
		case line.marker == markerRevoked:
			h.revoked = append(h.revoked, line)
		case line.marker == markerAuthority:
			h.cas = append(h.cas, line)
		default:
			h.known = append(h.known, line)
		}
	}
	if len(h.known) > 0 || h.pins == nil || h.strict {
		return h, nil // with StrictHostKeyChecking a first contact proves nothing
	}
	pinned, err := h.pins.Pinned(h.pinName)
	if err != nil {
		return nil, fault.New(fault.Failed, "", "the pinned host key of %s cannot be read: %w", t.title(), err)
	}
	for _, key := range pinned {
		h.known = append(h.known, knownLine{key: key})
		h.pinned = true
	}
	return h, nil
}

// takeExact reads keys in authorized_keys format; the option cert-authority
// makes one a CA.
func (h *hostCheck) takeExact(keys []string) error {
	for _, text := range keys {
		key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(text))
		if err != nil {
			return fault.New(fault.Failed, "", "the host key given for %s cannot be read: %w", h.who, err)
		}
		if slices.Contains(options, "cert-authority") {
			h.cas = append(h.cas, knownLine{key: key})
		} else {
			h.known = append(h.known, knownLine{key: key})
		}
	}
	return nil
}

// check is the ssh.HostKeyCallback. It is called again at every key exchange
// of the connection's life.
func (h *hostCheck) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.judgeLocked(key); err != nil {
		return err
	}
	h.accepted = true
	return nil
}

func (h *hostCheck) judgeLocked(key ssh.PublicKey) error {
	if cert, ok := key.(*ssh.Certificate); ok {
		return h.judgeCertificate(cert)
	}
	if line, ok := find(h.revoked, key); ok {
		return h.revokedBy(line)
	}
	if _, ok := find(h.known, key); ok {
		return nil
	}
	if len(h.known) > 0 || h.exact {
		return h.changed(key)
	}
	if _, ok := find(h.portless, key); ok {
		return nil
	}
	if h.pending != nil {
		if !sameKey(h.pending, key) {
			return fault.New(fault.Conflict, "", "%s changed its host key within one connection", h.who)
		}
		return nil
	}
	if h.strict {
		return fault.New(fault.Conflict, "Add its key to known_hosts after checking the fingerprint with its owner.",
			"the host key of %s is unknown and StrictHostKeyChecking is on: it shows %s", h.who, fingerprint(key))
	}
	if h.pins == nil {
		return fault.New(fault.Conflict, "", "the host key of %s is unknown: it shows %s", h.who, fingerprint(key))
	}
	h.pending = key
	return nil
}

func (h *hostCheck) judgeCertificate(cert *ssh.Certificate) error {
	for _, key := range []ssh.PublicKey{cert.Key, cert.SignatureKey} {
		if line, ok := find(h.revoked, key); ok {
			return h.revokedBy(line)
		}
	}
	if _, ok := find(h.cas, cert.SignatureKey); !ok || cert.CertType != ssh.HostCert {
		return fault.New(fault.Conflict, "Check the @cert-authority lines of known_hosts.",
			"%s shows a host certificate that no authority known for it has signed (%s)", h.who, fingerprint(cert.SignatureKey))
	}
	principal := h.host
	for _, p := range cert.ValidPrincipals {
		if box.MatchPattern(strings.ToLower(p), h.host) {
			principal = p // OpenSSH allows patterns here, x/crypto/ssh wants the very word
		}
	}
	var checker ssh.CertChecker
	if err := checker.CheckCert(principal, cert); err != nil {
		return fault.New(fault.Conflict, "Have the host's certificate renewed.", "the host certificate of %s is not valid: %w", h.who, err)
	}
	return nil
}

// changed says that the host shows another key than the known ones.
func (h *hostCheck) changed(key ssh.PublicKey) error {
	var known []string
	for _, line := range h.known {
		known = append(known, fingerprint(line.key))
	}
	var where, remedy string
	switch line := first(h.known); {
	case h.exact:
		where = "given by its provider"
		remedy = "Somebody may be listening in. Release it and warm up another one."
	case line.file == "":
		where = "pinned at first contact"
		remedy = "Somebody may be listening in. If the host was set up anew on purpose, release it and warm up again."
	default:
		where = line.where()
		remedy = "Somebody may be listening in. If the host was set up anew on purpose: ssh-keygen -R '" + h.lookupName() + "' -f " + line.file
	}
	return fault.New(fault.Conflict, remedy, "the host key of %s has changed: it shows %s, but %s is known (%s)",
		h.who, fingerprint(key), strings.Join(known, ", "), where)
}

func (h *hostCheck) revokedBy(line knownLine) error {
	return fault.New(fault.Conflict, "Do not use this host until its owner has given it a new key.", "the host key of %s is revoked (%s)", h.who, line.where())
}

// met tells whether the host showed a key that is believed.
func (h *hostCheck) met() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.accepted
}

// confirm pins the key that was met, unless it is known already. Call it when
// the host has proven to be the right one.
func (h *hostCheck) confirm() error {
	h.mu.Lock()
	key := h.pending
	if key == nil || h.pinned {
		h.mu.Unlock()
		return nil
	}
	h.pinned = true
	h.mu.Unlock()

	// Another process may have met the host meanwhile: the first one counts.
	earlier, err := h.pins.Pinned(h.pinName)
	if err == nil && len(earlier) > 0 {
		if slices.ContainsFunc(earlier, func(k ssh.PublicKey) bool { return sameKey(k, key) }) {
			return nil
		}
		return fault.New(fault.Conflict, "Somebody may be listening in. Try again.", "%s showed two different host keys to two connections: %s and %s", h.who, fingerprint(earlier[0]), fingerprint(key))
	}
	if err == nil {
		err = h.pins.Pin(h.pinName, key)
	}
	if err != nil {
		return fault.New(fault.Failed, "", "the host key of %s cannot be pinned: %w", h.who, err)
	}
	if h.first != nil {
		h.first(h.pinName, key)
	}
	return nil
}

// algorithms asks the host for a key of a type that we know, if it has one:
// left to its defaults, a host that is known by one key would show another and
// look changed. Certificates are asked for only where an authority is known.
func (h *hostCheck) algorithms() []string {
	var certs, known, others []string
	preferred := slices.Concat(h.known, h.portless)
	for _, algo := range ssh.SupportedAlgorithms().HostKeys {
		switch plain := strings.Replace(algo, "-cert-v01@openssh.com", "", 1); {
		case plain != algo:
			certs = append(certs, algo)
		case slices.ContainsFunc(preferred, func(l knownLine) bool { return signsWith(l.key.Type(), algo) }):
			known = append(known, algo)
		case algo == ssh.KeyAlgoED25519: // the type that crabbox itself uses comes first
			others = slices.Insert(others, 0, algo)
		default:
			others = append(others, algo)
		}
	}
	if len(h.cas) == 0 {
		certs = nil
	}
	return slices.Concat(certs, known, others)
}

// signsWith tells whether a host key of this type can sign with algo.
func signsWith(keyType, algo string) bool {
	if keyType == ssh.KeyAlgoRSA {
		return algo == ssh.KeyAlgoRSASHA256 || algo == ssh.KeyAlgoRSASHA512
	}
	return keyType == algo
}

func (h *hostCheck) lookupName() string {
	return first(h.known).asked
}

// lookups are the names under which a host may be known: those of its most
// wanted address, or of its alias.
type lookups struct {
	lookup    string // host, [host]:port, or the alias
	portless  string // host, when lookup has a port; "" otherwise
	principal string // what its certificate must name
}

func hostNames(e box.Endpoint) lookups {
	if alias := strings.ToLower(e.HostKey.Alias); alias != "" {
		return lookups{lookup: alias, principal: alias}
	}
	if len(e.Addrs) == 0 {
		return lookups{}
	}
	addr := strings.ToLower(e.Addrs[0])
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	names := lookups{lookup: knownhosts.Normalize(addr), principal: host}
	if names.lookup != host {
		names.portless = host
	}
	return names
}

func fingerprint(key ssh.PublicKey) string {
	return strings.TrimPrefix(key.Type(), "ssh-") + " " + ssh.FingerprintSHA256(key)
}

func first(lines []knownLine) knownLine {
	if len(lines) == 0 {
		return knownLine{}
	}
	return lines[0]
}
