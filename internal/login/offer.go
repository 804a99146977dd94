package login

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

// offer puts a person's keys before one server. Its next is the
// ssh.ClientAuthCallback, which x/crypto/ssh calls before every round:
//
//	"none" refused --> all identities --+--> logged in
//	                                    +--> none taken --> locked files whose public half is unknown --> Credentials
//	                                    +--> taken, signing failed, or one of several steps --> those after it
//
// The first round trip with the agent and the files happens here, so a server
// that wants no key costs none.
type offer struct {
	dialer *Dialer
	target Target
	conn   *stream
	host   *hostCheck

	started bool
	left    []*identity // not offered yet, or being offered in this round
	blind   []keyFile   // encrypted, with no public half: asked for when nothing else helps
	offered []string    // for the error
	passed  []string    // identities that could not be used, and why
	steps   int         // partial successes so far
}

// identity is a key or certificate that can be offered. It is an
// ssh.AlgorithmSigner.
type identity struct {
	what   string
	public ssh.PublicKey
	// sign makes a signature with the private key; algorithm is never a
	// certificate's.
	sign func(data []byte, algorithm string) (*ssh.Signature, error)

	confirm func() error // called when the server has said that it takes the key
	used    bool         // the server took it
	err     error        // why it could not sign
	final   bool         // err is about the host: no other key makes it good
}

func (i *identity) PublicKey() ssh.PublicKey { return i.public }

func (i *identity) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return i.SignWithAlgorithm(random, data, "")
}

func (i *identity) SignWithAlgorithm(_ io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	i.used = true
	if i.err = i.confirm(); i.err != nil {
		i.final = true
		return nil, i.err
	}
	var signature *ssh.Signature
	signature, i.err = i.sign(data, algorithm)
	return signature, i.err
}

// signWith adapts a private key at hand.
func signWith(signer ssh.Signer) func([]byte, string) (*ssh.Signature, error) {
	return func(data []byte, algorithm string) (*ssh.Signature, error) {
		if s, ok := signer.(ssh.AlgorithmSigner); ok && algorithm != "" {
			return s.SignWithAlgorithm(rand.Reader, data, algorithm)
		}
		return signer.Sign(rand.Reader, data)
	}
}

// next says what to offer in this round, or why there is nothing left.
func (o *offer) next(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	if err := o.conn.lost(); err != nil {
		return nil, fmt.Errorf("the connection was lost during the login: %w", err)
	}
	if !slices.Contains(c.AllowedMethods, "publickey") {
		return nil, o.refused("it takes only " + strings.Join(c.AllowedMethods, ", "))
	}
	step := len(c.PartialSuccessMethods) > o.steps
	o.steps = len(c.PartialSuccessMethods)
	switch {
	case !o.started:
		o.started = true
		o.collect()
	default:
		if err := o.advance(step); err != nil {
			return nil, err
		}
	}
	if len(o.left) == 0 {
		o.askBlind()
	}
	if len(o.left) == 0 {
		return nil, o.refused("")
	}
	signers := make([]ssh.Signer, len(o.left))
	for i, id := range o.left {
		id.confirm = o.host.confirm
		signers[i] = id
		o.offered = append(o.offered, id.what)
	}
	return ssh.PublicKeys(signers...), nil
}

// advance drops what the last round has used up. x/crypto/ssh gives up the
// round when a signature fails; OpenSSH goes on with the next key, and so do we.
func (o *offer) advance(step bool) error {
	last := -1
	for i, id := range o.left {
		if id.used {
			last = i
		}
	}
	if last < 0 || (o.left[last].err == nil && !step) {
		o.left = nil // every one was put before the server and refused
		return nil
	}
	if err := o.left[last].err; err != nil {
		if o.left[last].final {
			return err
		}
		o.passed = append(o.passed, fmt.Sprintf("%s: %v", o.left[last].what, err))
	}
	o.left = o.left[last+1:]
	return nil
}

// refused is the error of a login for which nothing is left to try.
func (o *offer) refused(why string) error {
	user := " as " + o.target.Endpoint.User
	if o.target.Endpoint.SecretUser {
		user = ""
	}
	what := fmt.Sprintf("%s refused the login%s", o.target.title(), user)
	if why != "" {
		what += ": " + why
	}
	switch {
	case len(o.offered) > 0:
		what += "; offered: " + strings.Join(o.offered, ", ")
	case o.started:
		what += "; there was no key to offer"
	}
	remedy := "Check the user name, and that one of these keys is in its authorized_keys."
	if len(o.passed) > 0 {
		what += "; passed over: " + strings.Join(o.passed, ", ")
		remedy = "For an encrypted key: ssh-add FILE, or run crabbox at a terminal, which asks for its passphrase. Otherwise give another key."
	}
	return fault.New(fault.Credentials, remedy, "%s", what)
}

// collect lists the identities in OpenSSH's order: certificates, then the
// agent's keys that the configuration names, the agent's others, and at last
// keys that are only in files. The lease's own key comes before all, since a
// box that knows it knows no other.
func (o *offer) collect() {
	id := o.target.Endpoint.Identity
	if id.LeaseKey {
		o.addLeaseKey()
	}
	var files []keyFile
	for _, path := range id.Files {
		if f, ok := o.readFile(path); ok {
			files = append(files, f)
		}
	}
	held := o.agentKeys(id.Agent)
	o.addCertificates(id, files, held)
	taken := map[string]bool{}
	for _, f := range files {
		if k, ok := held.find(f.public); ok {
			o.add(k.identity())
			taken[string(f.public.Marshal())] = true
		}
	}
	if !id.Only {
		for _, k := range held {
			if !taken[string(k.public.Marshal())] {
				o.add(k.identity())
			}
		}
	}
	for _, f := range files {
		if f.public != nil && taken[string(f.public.Marshal())] {
			continue
		}
		o.addFile(f)
	}
}

func (o *offer) add(id *identity) { o.left = append(o.left, id) }

func (o *offer) pass(format string, args ...any) {
	o.passed = append(o.passed, fmt.Sprintf(format, args...))
}

func (o *offer) addLeaseKey() {
	f, err := readKeyFile(o.target.LeaseKey)
	switch {
	case err != nil:
		o.pass("the lease's key: %v", err)
	case f.signer == nil:
		o.pass("the lease's key is encrypted")
	default:
		o.add(&identity{what: "the lease's key", public: f.public, sign: signWith(f.signer)})
	}
}

// readFile reads one identity file. Missing files are normal: OpenSSH's
// defaults name some that few people have.
func (o *offer) readFile(path string) (keyFile, bool) {
	f, err := readKeyFile(path)
	if err != nil {
		if !errors.Is(err, errNoFile) {
			o.pass("%s: %v", path, err)
		}
		return keyFile{}, false
	}
	if signer, ok := o.dialer.ring.unlocked(f); ok {
		f.signer, f.public = signer, signer.PublicKey()
	}
	return f, true
}

// addFile offers a key that only its file holds.
func (o *offer) addFile(f keyFile) {
	switch {
	case f.signer != nil:
		o.add(&identity{what: f.path, public: f.public, sign: signWith(f.signer)})
	case !f.locked:
		// Only the public half is here; its private half is in no agent.
	case o.dialer.Ask == nil:
		o.pass("%s is encrypted and was not unlocked", f.path)
	case f.public == nil:
		o.blind = append(o.blind, f)
	default:
		o.add(&identity{what: f.path, public: f.public, sign: o.signLocked(f)})
	}
}

// signLocked asks for the passphrase when the server has taken the key, and
// not before.
func (o *offer) signLocked(f keyFile) func([]byte, string) (*ssh.Signature, error) {
	return func(data []byte, algorithm string) (*ssh.Signature, error) {
		signer, err := o.dialer.ring.unlock(o.conn.ctx, o.dialer.Ask, f)
		if err != nil {
			return nil, err
		}
		return signWith(signer)(data, algorithm)
	}
}

// askBlind unlocks the encrypted files that do not tell their public key.
func (o *offer) askBlind() {
	for _, f := range o.blind {
		signer, err := o.dialer.ring.unlock(o.conn.ctx, o.dialer.Ask, f)
		if err != nil {
			o.pass("%s: %v", f.path, err)
			continue
		}
		o.add(&identity{what: f.path, public: signer.PublicKey(), sign: signWith(signer)})
	}
	o.blind = nil
}

// addCertificates offers each certificate whose private key is at hand.
func (o *offer) addCertificates(id box.Identity, files []keyFile, held agentKeys) {
	paths, named := id.Certificates, len(id.Certificates) > 0
	if !named {
		for _, path := range id.Files {
			paths = append(paths, strings.TrimSuffix(path, ".pub")+"-cert.pub")
		}
	}
	for _, path := range paths {
		cert, err := readCertificate(path)
		if err != nil {
			if named || !errors.Is(err, errNoFile) {
				o.pass("%s: %v", path, err)
			}
			continue
		}
		sign, ok := o.signerFor(cert.Key, files, held)
		if !ok {
			if named {
				o.pass("%s: its private key is not at hand", path)
			}
			continue
		}
		o.add(&identity{what: path, public: cert, sign: sign})
	}
}

// signerFor finds the private key of a certificate.
func (o *offer) signerFor(key ssh.PublicKey, files []keyFile, held agentKeys) (func([]byte, string) (*ssh.Signature, error), bool) {
	if k, ok := held.find(key); ok {
		return k.sign, true
	}
	for _, id := range o.left {
		if id.what == "the lease's key" && sameKey(id.public, key) {
			return id.sign, true
		}
	}
	for _, f := range files {
		if f.public == nil || !sameKey(f.public, key) {
			continue
		}
		if f.signer != nil {
			return signWith(f.signer), true
		}
		if f.locked && o.dialer.Ask != nil {
			return o.signLocked(f), true
		}
	}
	return nil, false
}
