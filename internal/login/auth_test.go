package login

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crabbox/internal/fault"
	"crabbox/internal/sshdtest"
)

const passphrase = "open sesame"

// encryptedKey writes a key under the passphrase, in OpenSSH's own format or in
// PEM, and returns its file and its authorized_keys line.
func encryptedKey(t *testing.T, format string) (file, public string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "locked_"+format)
	args := []string{"-q", "-a", "1", "-t", "ecdsa", "-N", passphrase, "-f", file}
	if format == "pem" {
		args = append(args, "-m", "PEM")
	}
	run(t, "ssh-keygen", args...)
	key, err := readPublicKey(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if format == "pem" { // then nothing tells its public half
		if err := os.Remove(file + ".pub"); err != nil {
			t.Fatal(err)
		}
	}
	return file, keyText(key)
}

// person answers questions on a terminal that is not there.
type person struct {
	mu      sync.Mutex
	answers []string // guarded by mu
	asked   []string // guarded by mu
}

func (p *person) ask(_ context.Context, prompt string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, prompt)
	if len(p.answers) == 0 {
		return nil, errors.New("the person has left")
	}
	answer := p.answers[0]
	p.answers = p.answers[1:]
	return []byte(answer), nil
}

func (p *person) questions() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked)
}

func TestEncryptedKeyAsksOnce(t *testing.T) {
	for _, format := range []string{"openssh", "pem"} {
		t.Run(format, func(t *testing.T) {
			file, public := encryptedKey(t, format)
			s := sshdtest.Start(t, sshdtest.Options{Authorized: []string{public}})
			d := newDialer(t)
			me := &person{answers: []string{"wrong", passphrase}}
			d.Ask = me.ask
			to := target(s)
			to.Endpoint.Identity.Files = []string{file}
			var connecting sync.WaitGroup
			for range 3 { // at once, yet one question at a time
				connecting.Go(func() {
					client, err := d.Connect(soon(t), to)
					if err != nil {
						t.Error(err)
						return
					}
					client.Close()
					client.Wait()
				})
			}
			connecting.Wait()
			if len(me.asked) != 2 || !strings.Contains(me.asked[0], file) || !strings.Contains(me.asked[1], "Wrong") {
				t.Errorf("asked %q", me.asked)
			}
		})
	}
}

func TestEncryptedKeyGivesUp(t *testing.T) {
	file, public := encryptedKey(t, "openssh")
	s := sshdtest.Start(t, sshdtest.Options{Authorized: []string{public}})
	to := target(s)
	for what, answers := range map[string][]string{"wrong": {"1", "2", "3", passphrase}, "skipped": {"", passphrase}} {
		t.Run(what, func(t *testing.T) {
			d := newDialer(t)
			me := &person{answers: answers}
			d.Ask = me.ask
			to.Endpoint.Identity.Files = []string{file}
			mustFail(t, d, to, fault.Credentials, "passed over", file, "passphrase was not given")
			asked := me.questions()
			if asked > passphraseTries {
				t.Errorf("asked %d times", asked)
			}
			// The next key in line is offered all the same, with no new question.
			to.Endpoint.Identity.Files = []string{file, s.UserKeyFile}
			mustConnect(t, d, to)
			if me.questions() != asked {
				t.Error("asked again in the same process")
			}
		})
	}
}

// A passphrase is asked for only when the server takes the key.
func TestEncryptedKeyThatIsNotNeeded(t *testing.T) {
	file, _ := encryptedKey(t, "openssh")
	pem, _ := encryptedKey(t, "pem")
	s := sshdtest.Start(t, sshdtest.Options{})
	d := newDialer(t)
	me := &person{}
	d.Ask = me.ask
	to := target(s)
	to.Endpoint.Identity.Files = []string{pem, file, s.UserKeyFile}
	mustConnect(t, d, to)
	if me.questions() != 0 {
		t.Errorf("asked %q", me.asked)
	}
}

func TestEncryptedKeyInAPipe(t *testing.T) {
	file, public := encryptedKey(t, "openssh")
	s := sshdtest.Start(t, sshdtest.Options{Authorized: []string{public}})
	d := newDialer(t) // Ask is nil: there is no terminal
	to := target(s)
	to.Endpoint.Identity.Files = []string{file}
	mustFail(t, d, to, fault.Credentials, file+" is encrypted and was not unlocked", "ssh-add")

	if locked := d.Locked(to); len(locked) != 1 || locked[0] != file {
		t.Errorf("locked: %v", locked)
	}
	to.Endpoint.Identity.Files = []string{file, s.UserKeyFile}
	if locked := d.Locked(to); locked != nil {
		t.Errorf("locked although another key is at hand: %v", locked)
	}
	to.Endpoint.Identity.Files = []string{file}
	checkFault(t, d.Unlock(file, []byte("wrong")), fault.Credentials, file)
	checkFault(t, d.Unlock(s.UserKeyFile, []byte("x")), fault.Usage, "not encrypted")
	checkFault(t, d.Unlock(file+"x", []byte("x")), fault.Usage, "no such file")
	if err := d.Unlock(file, []byte(passphrase)); err != nil {
		t.Fatal(err)
	}
	if locked := d.Locked(to); locked != nil {
		t.Errorf("still locked: %v", locked)
	}
	mustConnect(t, d, to)
}

func TestUserCertificate(t *testing.T) {
	dir := t.TempDir()
	ca, key := filepath.Join(dir, "ca"), filepath.Join(dir, "key")
	sshdtest.WriteKey(t, ca, nil)
	sshdtest.WriteKey(t, key, nil)
	s := sshdtest.Start(t, sshdtest.Options{Config: []string{"TrustedUserCAKeys " + ca + ".pub"}})
	to := target(s)
	to.Endpoint.Identity.Files = []string{key}
	mustFail(t, newDialer(t), to, fault.Credentials)

	run(t, "ssh-keygen", "-q", "-s", ca, "-I", "test", "-n", s.User, key+".pub")
	mustConnect(t, newDialer(t), to) // found beside its key

	named := filepath.Join(dir, "named.pub")
	if err := os.Rename(key+"-cert.pub", named); err != nil {
		t.Fatal(err)
	}
	mustFail(t, newDialer(t), to, fault.Credentials)
	to.Endpoint.Identity.Certificates = []string{named}
	mustConnect(t, newDialer(t), to)

	to.Endpoint.Identity.Files = nil
	mustFail(t, newDialer(t), to, fault.Credentials, "private key is not at hand")
	leased := to
	leased.LeaseKey, leased.Endpoint.Identity.LeaseKey = key, true
	mustConnect(t, newDialer(t), leased)

	agent := startAgent(t, key)
	d := newDialer(t)
	d.Getenv = agent.getenv
	to.Endpoint.Identity.Agent = "SSH_AUTH_SOCK"
	mustConnect(t, d, to) // the private key is in the agent alone

	to.Endpoint.Identity.Certificates = []string{key + ".pub"}
	to.Endpoint.Identity.Agent = ""
	mustFail(t, d, to, fault.Credentials, "not a user certificate")
}

// realAgent is OpenSSH's ssh-agent.
type realAgent struct{ socket string }

func (a realAgent) getenv(name string) string {
	if name == "SSH_AUTH_SOCK" {
		return a.socket
	}
	return ""
}

func startAgent(t *testing.T, keys ...string) realAgent {
	t.Helper()
	dir, err := os.MkdirTemp("", "cbx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	a := realAgent{socket: filepath.Join(dir, "agent")}
	cmd := exec.Command("ssh-agent", "-D", "-a", a.socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	eventually(t, "ssh-agent listens", func() bool {
		conn, err := net.Dial("unix", a.socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	for _, key := range keys {
		a.add(t, key)
	}
	return a
}

func (a realAgent) add(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("ssh-add", append([]string{"-q"}, args...)...)
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+a.socket)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v\n%s", err, out)
	}
}

func TestAgent(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		t.Run(kind, func(t *testing.T) {
			file := filepath.Join(dir, kind)
			run(t, "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", file)
			public, err := readPublicKey(file + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			s := sshdtest.Start(t, sshdtest.Options{Authorized: []string{keyText(public)}})
			agent := startAgent(t, file)
			d := newDialer(t)
			d.Getenv = agent.getenv
			to := target(s)
			to.Endpoint.Identity.Files = nil
			mustFail(t, d, to, fault.Credentials) // no agent is asked for
			to.Endpoint.Identity.Agent = "SSH_AUTH_SOCK"
			mustConnect(t, d, to)
			to.Endpoint.Identity.Agent = agent.socket // IdentityAgent
			mustConnect(t, newDialer(t), to)
		})
	}
}

func TestAgentKeysInOpenSSHsOrder(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{Config: []string{"MaxAuthTries 2"}})
	dir := t.TempDir()
	var others []string
	for _, name := range []string{"a", "b", "c"} {
		file := filepath.Join(dir, name)
		sshdtest.WriteKey(t, file, nil)
		others = append(others, file)
	}
	agent := startAgent(t, append(others, s.UserKeyFile)...)
	d := newDialer(t)
	d.Getenv = agent.getenv
	to := target(s)
	to.Endpoint.Identity.Agent = "SSH_AUTH_SOCK"
	to.Endpoint.Identity.Files = nil
	mustFail(t, d, to, fault.Credentials) // the right key is the fourth

	// A configured key goes first, also when only its public half is on disk.
	public := filepath.Join(dir, "public")
	data, err := os.ReadFile(s.UserKeyFile + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(public+".pub", data, 0o600); err != nil {
		t.Fatal(err)
	}
	to.Endpoint.Identity.Files = []string{public}
	mustConnect(t, d, to)

	// IdentitiesOnly keeps the agent's other keys back.
	elsewhere := filepath.Join(dir, "elsewhere")
	data, err = os.ReadFile(s.UserKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(elsewhere, data, 0o600); err != nil {
		t.Fatal(err)
	}
	few := startAgent(t, others...)
	d = newDialer(t)
	d.Getenv = few.getenv
	to.Endpoint.Identity.Files = []string{elsewhere}
	mustFail(t, d, to, fault.Credentials)
	to.Endpoint.Identity.Only = true
	mustConnect(t, d, to)
}

// An encrypted key whose other half the agent holds needs no passphrase.
func TestAgentHoldsTheEncryptedKey(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	agent := startAgent(t, s.UserKeyFile)
	run(t, "ssh-keygen", "-q", "-a", "1", "-p", "-P", "", "-N", passphrase, "-f", s.UserKeyFile)
	d := newDialer(t)
	d.Getenv = agent.getenv
	to := target(s)
	to.Endpoint.Identity.Agent, to.Endpoint.Identity.Only = "SSH_AUTH_SOCK", true
	mustConnect(t, d, to)
	if locked := d.Locked(to); locked != nil {
		t.Errorf("locked: %v", locked)
	}
}

// An agent that accepts and never answers, and one that is not there, cost the
// other keys nothing but time.
func TestAgentThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	s := sshdtest.Start(t, sshdtest.Options{})
	d := newDialer(t)
	to := target(s)
	to.Endpoint.Identity.Agent = filepath.Join(t.TempDir(), "gone")
	mustConnect(t, d, to)

	dir, err := os.MkdirTemp("", "cbx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	to.Endpoint.Identity.Agent = filepath.Join(dir, "mute")
	fakeServer(t, "unix", to.Endpoint.Identity.Agent, func(c net.Conn) { io.Copy(io.Discard, c) })
	mustConnect(t, d, to)

	_, err = d.Connect(within(t, 300*time.Millisecond), to) // ctx reaches the agent too
	checkFault(t, err, fault.Timeout)
}

// No connection to the agent outlives its use, although the caller drives the
// handshake and keeps the link.
func TestAgentConnectionsAreClosed(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	agent := startAgent(t, s.UserKeyFile)
	dir, err := os.MkdirTemp("", "cbx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	counted := filepath.Join(dir, "counted")
	var mu sync.Mutex
	open, total := 0, 0
	fakeServer(t, "unix", counted, func(c net.Conn) {
		mu.Lock()
		open, total = open+1, total+1
		mu.Unlock()
		spliceTo(t, c, "unix", agent.socket)
		mu.Lock()
		open--
		mu.Unlock()
	})
	to := target(s)
	to.Endpoint.Identity.Files, to.Endpoint.Identity.Agent = nil, counted
	mustConnect(t, newDialer(t), to)
	eventually(t, "the agent's connections are closed", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return open == 0 && total > 0
	})
}

func TestUnusableKeyFiles(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := target(s)
	to.LeaseKey = junk + "-lease"
	to.Endpoint.Identity.LeaseKey = true
	to.Endpoint.Identity.Files = []string{junk, filepath.Dir(junk)}
	mustFail(t, newDialer(t), to, fault.Credentials, junk+": not a private key", filepath.Dir(junk)+": is a directory", "the lease's key: there is no such file")
	to.Endpoint.Identity.Files = append(to.Endpoint.Identity.Files, s.UserKeyFile)
	mustConnect(t, newDialer(t), to)
}

// A server may want two keys, one after the other.
func TestTwoKeysWanted(t *testing.T) {
	second := filepath.Join(t.TempDir(), "second")
	public := sshdtest.WriteKey(t, second, nil)
	s := sshdtest.Start(t, sshdtest.Options{
		Config:     []string{"AuthenticationMethods publickey,publickey"},
		Authorized: []string{keyText(public)},
	})
	to := target(s)
	mustFail(t, newDialer(t), to, fault.Credentials)
	to.Endpoint.Identity.Files = append(to.Endpoint.Identity.Files, second)
	mustConnect(t, newDialer(t), to)
}

// A second step that is not a key is named.
func TestSecondStepThatIsNoKey(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{Config: []string{"PasswordAuthentication yes", "AuthenticationMethods publickey,password"}})
	mustFail(t, newDialer(t), target(s), fault.Credentials, "it takes only password")
}

// The network may fail in the middle of a login: that is no refusal.
func TestConnectionLostDuringLogin(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	file, _ := encryptedKey(t, "openssh")
	run(t, "ssh-keygen", "-q", "-a", "1", "-p", "-P", "", "-N", passphrase, "-f", s.UserKeyFile)
	d := newDialer(t)
	d.Ask = func(context.Context, string) ([]byte, error) {
		s.Stop()
		return []byte(passphrase), nil
	}
	to := target(s)
	to.Endpoint.Identity.Files = []string{s.UserKeyFile, file}
	mustFail(t, d, to, fault.Failed)
}
