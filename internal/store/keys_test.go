package store

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"crabbox/internal/fault"
)

func newPublicKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestNewKeyIsMadeOnce(t *testing.T) {
	s := newStore(t)
	const id = "cbx_000000000001"
	public, err := s.NewKey(id)
	if err != nil {
		t.Fatal(err)
	}
	checkMode(t, s.KeyPath(id), 0o600)
	checkContent(t, s.KeyPath(id)+".pub", public+"\n")
	private, err := os.ReadFile(s.KeyPath(id))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil || comment != id || !bytes.Equal(parsed.Marshal(), signer.PublicKey().Marshal()) {
		t.Errorf("public half %q (%v) is not that of the private one", public, err)
	}
	if parsed.Type() != ssh.KeyAlgoED25519 {
		t.Errorf("a key of type %s", parsed.Type())
	}
	if again, err := s.NewKey(id); err != nil || again != public {
		t.Errorf("a second time: %q, %v", again, err)
	}
	if other, err := s.NewKey("cbx_000000000002"); err != nil || other == public {
		t.Errorf("another lease has the same key (%v)", err)
	}
}

func TestNewKeyDoesNotReplaceADamagedOne(t *testing.T) {
	s := newStore(t)
	if err := s.WriteFile([]byte("garbage"), "keys", "cbx_000000000001"); err != nil {
		t.Fatal(err)
	}
	_, err := s.NewKey("cbx_000000000001")
	checkFault(t, err, fault.Failed, "Release")
	checkContent(t, s.KeyPath("cbx_000000000001"), "garbage")
}

func TestPinIsFinal(t *testing.T) {
	s := newStore(t)
	const id = "cbx_000000000001"
	key, other := newPublicKey(t), newPublicKey(t)
	if keys, err := s.Pinned(id); err != nil || len(keys) != 0 {
		t.Fatalf("before: %v, %v", keys, err)
	}
	if err := s.Pin(id, key); err != nil {
		t.Fatal(err)
	}
	if err := s.Pin(id, key); err != nil {
		t.Errorf("the same again: %v", err)
	}
	checkFault(t, s.Pin(id, other), fault.Conflict, "release")
	keys, err := s.Pinned(id)
	if err != nil || len(keys) != 1 || !bytes.Equal(keys[0].Marshal(), key.Marshal()) {
		t.Errorf("pinned %v, %v", keys, err)
	}
	if err := s.PinAll("cbx_000000000002", key, other); err != nil {
		t.Fatal(err)
	}
	if keys, err := s.Pinned("cbx_000000000002"); err != nil || len(keys) != 2 {
		t.Errorf("pinned %v, %v", keys, err)
	}
	if err := s.Unpin(id); err != nil {
		t.Fatal(err)
	}
	if err := s.Pin(id, other); err != nil {
		t.Errorf("after Unpin: %v", err)
	}
}

// OpenSSH's own rules, as x/crypto reads them, accept exactly the pinned key.
func TestKnownHostsIsInOpenSSHsFormat(t *testing.T) {
	s := newStore(t)
	key := newPublicKey(t)
	if err := s.Pin("cbx_000000000001", key); err != nil {
		t.Fatal(err)
	}
	check, err := knownhosts.New(s.Path("known_hosts"))
	if err != nil {
		t.Fatal(err)
	}
	where := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 22}
	if err := check("cbx_000000000001:22", where, key); err != nil {
		t.Errorf("the pinned key: %v", err)
	}
	if err := check("cbx_000000000001:22", where, newPublicKey(t)); err == nil {
		t.Error("another key is accepted")
	}
	checkMode(t, s.Path("known_hosts"), 0o600)
}

func TestPinnedDoesNotTakeADamagedLineForUnknown(t *testing.T) {
	s := newStore(t)
	if err := s.Pin("cbx_000000000002", newPublicKey(t)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.Path("known_hosts"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := "# mine\ncbx_000000000001 ssh-ed25519 AAAAgarbage\n" + string(data)
	if err := s.WriteFile([]byte(damaged), "known_hosts"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Pinned("cbx_000000000001")
	checkFault(t, err, fault.Failed, "Remove that line")
	if err := s.Pin("cbx_000000000001", newPublicKey(t)); err == nil {
		t.Error("a new key was pinned over a damaged line")
	}
	if keys, err := s.Pinned("cbx_000000000002"); err != nil || len(keys) != 1 {
		t.Errorf("the line behind it: %v, %v", keys, err)
	}
	if err := s.Unpin("cbx_000000000001"); err != nil {
		t.Fatal(err)
	}
	checkContent(t, s.Path("known_hosts"), "# mine\n"+string(data))
}

func TestPinRefusesNamesThatMeanMore(t *testing.T) {
	s := newStore(t)
	for _, name := range []string{"", "a b", "a,b", "*", "a?", "!a", "|1|x", "@revoked", "#x", "a\nb", "a\tb", "ä"} {
		if err := s.Pin(name, newPublicKey(t)); !errors.Is(err, fault.Usage) {
			t.Errorf("Pin(%q) = %v", name, err)
		}
	}
	for _, name := range []string{"cbx_000000000001", "[::1]:22", "host.example"} {
		if err := s.Pin(name, newPublicKey(t)); err != nil {
			t.Errorf("Pin(%q) = %v", name, err)
		}
	}
	data, err := os.ReadFile(s.Path("known_hosts"))
	if err != nil || strings.Count(string(data), "\n") != 3 {
		t.Errorf("known_hosts holds %q, %v", data, err)
	}
}
