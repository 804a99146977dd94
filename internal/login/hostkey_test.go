package login

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/sshdtest"
)

// unknown is target without any knowledge of the host key.
func unknown(s *sshdtest.Server) Target {
	to := target(s)
	to.Endpoint.HostKey = box.HostKey{}
	return to
}

// knownBy is target with these known_hosts lines.
func knownBy(t *testing.T, s *sshdtest.Server, lines ...string) Target {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := target(s)
	to.Endpoint.HostKey = box.HostKey{Files: []string{file, filepath.Join(t.TempDir(), "missing")}}
	return to
}

func newKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	return sshdtest.WriteKey(t, filepath.Join(t.TempDir(), "key"), nil)
}

func keyText(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func TestUnknownHostIsPinnedAtFirstContact(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	d := newDialer(t)
	var told []string
	d.FirstContact = func(name string, key ssh.PublicKey) {
		told = append(told, name+" "+ssh.FingerprintSHA256(key))
	}
	for range 2 {
		mustConnect(t, d, unknown(s))
	}
	want := "web " + ssh.FingerprintSHA256(s.HostKey)
	if len(told) != 1 || told[0] != want {
		t.Errorf("told %q, want %q once", told, want)
	}
	s.SetHostKey(nil)
	s.Restart()
	mustFail(t, d, unknown(s), fault.Conflict, "host key of web has changed", ssh.FingerprintSHA256(s.HostKey),
		strings.Fields(want)[1], "pinned at first contact", "release it and warm up again")
}

// A host that refuses our keys is perhaps not ours: it must not get a pin.
func TestNoPinForAHostThatRefusesUs(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	d := newDialer(t)
	to := unknown(s)
	file := filepath.Join(t.TempDir(), "other")
	sshdtest.WriteKey(t, file, nil)
	to.Endpoint.Identity.Files = []string{file}
	mustFail(t, d, to, fault.Credentials)
	if keys, _ := d.Pins.Pinned("web"); len(keys) != 0 {
		t.Errorf("pinned %d keys", len(keys))
	}
	// The right host may then show its own key.
	s.SetHostKey(nil)
	s.Restart()
	mustConnect(t, d, unknown(s))
}

// The mesh does the handshake itself; the pin is then made when the host has
// taken a key.
func TestPinWhenTheCallerDoesTheHandshake(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	d := newDialer(t)
	conn, config, err := d.Dial(soon(t), unknown(s))
	if err != nil {
		t.Fatal(err)
	}
	c, _, _, err := ssh.NewClientConn(conn, "", config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if keys, _ := d.Pins.Pinned("web"); len(keys) != 1 || !sameKey(keys[0], s.HostKey) {
		t.Errorf("pinned %v", keys)
	}
}

// fullDisk cannot keep a pin.
type fullDisk struct{ memoryPins }

func (*fullDisk) Pin(string, ssh.PublicKey) error { return errors.New("no space left on device") }

func TestPinThatCannotBeKept(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	d := newDialer(t)
	d.Pins = &fullDisk{}
	mustFail(t, d, unknown(s), fault.Failed, "cannot be pinned", "no space left")
}

func TestStrictRefusesUnknownHosts(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	to := unknown(s)
	to.Endpoint.HostKey.Strict = true
	mustFail(t, newDialer(t), to, fault.Conflict, "unknown", ssh.FingerprintSHA256(s.HostKey), "known_hosts")
	d := newDialer(t)
	mustConnect(t, d, unknown(s)) // a pin of ours is not the user's word
	mustFail(t, d, to, fault.Conflict, "unknown")
	to = knownBy(t, s, knownhosts.Line([]string{s.Addr}, s.HostKey))
	to.Endpoint.HostKey.Strict = true
	mustConnect(t, newDialer(t), to)
}

func TestGivenHostKeyIsAllThatCounts(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	to := knownBy(t, s, knownhosts.Line([]string{s.Addr}, s.HostKey))
	to.Endpoint.HostKey.Keys = []string{keyText(newKey(t))}
	mustFail(t, newDialer(t), to, fault.Conflict, "has changed", "given by its provider", "warm up another")
	to.Endpoint.HostKey.Keys = []string{"no key"}
	mustFail(t, newDialer(t), to, fault.Failed, "cannot be read")
}

func TestKnownHostsFiles(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	key, other := keyText(s.HostKey), keyText(newKey(t))
	name := knownhosts.Normalize(s.Addr)
	good := map[string][]string{
		"plain":           {name + " " + key},
		"hashed":          {knownhosts.HashHostname(name) + " " + key},
		"among others":    {"a.example.com,b.example.com " + other, "x," + name + ",y " + key},
		"broken lines":    {"", "# comment", "nonsense", name + " ssh-ed25519 AAAA", "@unknown * " + other, "\x00\xff", name + " " + key},
		"pattern":         {"[127.0.0.*]:* " + key},
		"without port":    {"127.0.0.1 " + key},
		"several keys":    {name + " " + other, name + " " + key},
		"negated":         {"*,!" + name + " " + other, name + " " + key},
		"revoked others":  {"@revoked " + name + " " + other, name + " " + key},
		"unrelated @cert": {"@cert-authority *.example.com " + other, name + " " + key},
	}
	for what, lines := range good {
		t.Run(what, func(t *testing.T) {
			d := newDialer(t)
			mustConnect(t, d, knownBy(t, s, lines...))
			if pinned, _ := d.Pins.Pinned("web"); len(pinned) != 0 {
				t.Error("a host that known_hosts knows was pinned as new")
			}
		})
	}
	t.Run("changed", func(t *testing.T) {
		to := knownBy(t, s, "# first", knownhosts.HashHostname(name)+" "+other)
		file := to.Endpoint.HostKey.Files[0]
		mustFail(t, newDialer(t), to, fault.Conflict, "has changed", file+" line 2", "ssh-keygen -R '"+name+"' -f "+file)
	})
	t.Run("revoked", func(t *testing.T) {
		mustFail(t, newDialer(t), knownBy(t, s, name+" "+key, "@revoked * "+key), fault.Conflict, "revoked", "line 2")
	})
	t.Run("without port, another key", func(t *testing.T) {
		d := newDialer(t)
		mustConnect(t, d, knownBy(t, s, "127.0.0.1 "+other)) // that is the machine's main server
		if pinned, _ := d.Pins.Pinned("web"); len(pinned) != 1 {
			t.Error("not pinned")
		}
	})
	t.Run("alias", func(t *testing.T) {
		to := knownBy(t, s, name+" "+other, "the-alias "+key)
		to.Endpoint.HostKey.Alias = "The-Alias"
		mustConnect(t, newDialer(t), to)
	})
	t.Run("known hosts before pins", func(t *testing.T) {
		d := newDialer(t)
		d.Pins.Pin("web", newKey(t))
		mustConnect(t, d, knownBy(t, s, name+" "+key))
		mustFail(t, d, unknown(s), fault.Conflict, "has changed")
	})
}

// A server with many host keys that is known by one of them has to be asked for
// that one: x/crypto/ssh's own order would make it look changed.
func TestKnownByOneOfItsKeys(t *testing.T) {
	dir := t.TempDir()
	var config []string
	keys := map[string]ssh.PublicKey{}
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		file := filepath.Join(dir, kind)
		run(t, "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", file)
		public, err := readPublicKey(file + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		keys[kind] = public
		config = append(config, "HostKey "+file)
	}
	s := sshdtest.Start(t, sshdtest.Options{Config: config})
	for kind, key := range keys {
		t.Run(kind, func(t *testing.T) {
			mustConnect(t, newDialer(t), knownBy(t, s, knownhosts.Line([]string{s.Addr}, key)))
		})
	}
}

func run(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
}

func TestHostCertificate(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	authority := sshdtest.WriteKey(t, ca, nil)
	certified := filepath.Join(dir, "host")
	sshdtest.WriteKey(t, certified, nil)
	sign := func(principals string, more ...string) {
		args := append([]string{"-q", "-s", ca, "-I", "test", "-h", "-n", principals}, more...)
		run(t, "ssh-keygen", append(args, certified+".pub")...)
	}
	sign("127.0.0.1,web-*")
	s := sshdtest.Start(t, sshdtest.Options{Config: []string{"HostKey " + certified, "HostCertificate " + certified + "-cert.pub"}})
	name := knownhosts.Normalize(s.Addr)
	caLine := "@cert-authority [127.*]:* " + keyText(authority)

	mustConnect(t, newDialer(t), knownBy(t, s, caLine))

	given := target(s)
	given.Endpoint.HostKey.Keys = []string{"cert-authority " + keyText(authority)}
	mustConnect(t, newDialer(t), given)

	alias := knownBy(t, s, "@cert-authority web-1 "+keyText(authority))
	alias.Endpoint.HostKey.Alias = "web-1" // the certificate names web-*
	mustConnect(t, newDialer(t), alias)

	// No authority is known: the host is asked for its plain key instead.
	plain, err := readPublicKey(certified + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	mustConnect(t, newDialer(t), knownBy(t, s, name+" "+keyText(plain)))

	mustFail(t, newDialer(t), knownBy(t, s, "@cert-authority * "+keyText(newKey(t))), fault.Conflict, "no authority")
	mustFail(t, newDialer(t), knownBy(t, s, caLine, "@revoked * "+keyText(authority)), fault.Conflict, "revoked")

	sign("elsewhere")
	s.Restart()
	mustFail(t, newDialer(t), knownBy(t, s, caLine), fault.Conflict, "certificate", "not valid")
	sign("127.0.0.1", "-V", "20200101:20200102")
	s.Restart()
	mustFail(t, newDialer(t), knownBy(t, s, caLine), fault.Conflict, "certificate", "not valid")
}

// The callback is asked again at each key exchange of a connection's life.
func TestHostKeyMayNotChangeWithinAConnection(t *testing.T) {
	d := newDialer(t)
	h, err := d.hostCheck(Target{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	one, two := newKey(t), newKey(t)
	if err := errors.Join(h.check("", nil, one), h.check("", nil, one), h.confirm(), h.check("", nil, one)); err != nil {
		t.Fatal(err)
	}
	checkFault(t, h.check("", nil, two), fault.Conflict)
}

// Two first contacts at once, with two different hosts: the first pin counts.
func TestFirstPinCounts(t *testing.T) {
	d := newDialer(t)
	one, _ := d.hostCheck(Target{Name: "web"})
	two, _ := d.hostCheck(Target{Name: "web"})
	if err := errors.Join(one.check("", nil, newKey(t)), two.check("", nil, newKey(t)), one.confirm()); err != nil {
		t.Fatal(err)
	}
	checkFault(t, two.confirm(), fault.Conflict, "two different host keys")
}

// A server that lets anybody in is pinned all the same: Connect knows that the
// login has worked.
func TestPinWithoutAnyKey(t *testing.T) {
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)
	addr := fakeServer(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		if conn, _, requests, err := ssh.NewServerConn(c, config); err == nil {
			go ssh.DiscardRequests(requests)
			conn.Wait()
		}
	})
	d := newDialer(t)
	client, err := d.Connect(soon(t), Target{Name: "open", Endpoint: box.Endpoint{Dialer: box.DialTCP, Addrs: []string{addr.String()}}})
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	client.Wait()
	if keys, _ := d.Pins.Pinned("open"); len(keys) != 1 || !sameKey(keys[0], signer.PublicKey()) {
		t.Errorf("pinned %v", keys)
	}
}

func TestPinsThatCannotBeRead(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	d := newDialer(t)
	d.Pins = brokenPins{}
	mustFail(t, d, unknown(s), fault.Failed, "cannot be read")
	d.Pins = nil
	mustFail(t, d, unknown(s), fault.Conflict, "unknown")
}

type brokenPins struct{}

func (brokenPins) Pinned(string) ([]ssh.PublicKey, error) { return nil, errors.New("half a line") }
func (brokenPins) Pin(string, ssh.PublicKey) error        { return errors.New("not reached") }

func FuzzKnownHosts(f *testing.F) {
	f.Add([]byte("|1|c2FsdA==|c3Vt ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHF6Zm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFy x\n*,!a"), "[127.0.0.1]:22")
	f.Add([]byte("@cert-authority *.x ssh-rsa AAAA"), "a.x")
	f.Fuzz(func(t *testing.T, content []byte, name string) {
		file := filepath.Join(t.TempDir(), "known_hosts")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, line := range readKnownHosts([]string{file}, slog.New(slog.DiscardHandler)) {
			if line.matches(name) && (name == "" || line.key == nil) {
				t.Errorf("%+v matches %q", line, name)
			}
		}
	})
}

// rejoin is how long a test waits for something that has to happen.
const rejoin = 10 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rejoin)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal(fmt.Errorf("%s: not within %s", what, rejoin))
		case <-time.After(5 * time.Millisecond):
		}
	}
}
