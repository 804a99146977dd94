package login

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/sshdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memoryPins are Pins without a disk.
type memoryPins struct {
	mu   sync.Mutex
	keys map[string][]ssh.PublicKey // guarded by mu
}

func (p *memoryPins) Pinned(name string) ([]ssh.PublicKey, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[name], nil
}

func (p *memoryPins) Pin(name string, key ssh.PublicKey) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		p.keys = map[string][]ssh.PublicKey{}
	}
	p.keys[name] = append(p.keys[name], key)
	return nil
}

// newDialer is a person with nothing of their own: no agent, no home.
func newDialer(t *testing.T) *Dialer {
	return &Dialer{Pins: &memoryPins{}, Getenv: func(string) string { return "" }, UserHome: t.TempDir()}
}

// target logs in to s with its own user key and believes its host key.
func target(s *sshdtest.Server) Target {
	return Target{Name: "web", Endpoint: box.Endpoint{
		Dialer:   box.DialTCP,
		Addrs:    []string{s.Addr},
		User:     s.User,
		Identity: box.Identity{Files: []string{s.UserKeyFile}},
		HostKey:  box.HostKey{Keys: []string{string(ssh.MarshalAuthorizedKey(s.HostKey))}},
	}}
}

func within(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func soon(t *testing.T) context.Context { return within(t, 30*time.Second) }

// mustConnect logs in and proves that commands run.
func mustConnect(t *testing.T, d *Dialer, to Target) *ssh.Client {
	t.Helper()
	client, err := d.Connect(soon(t), to)
	if err != nil {
		t.Fatalf("connect: %v (%s)", err, fault.RemedyOf(err))
	}
	t.Cleanup(func() { client.Close(); client.Wait() })
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := session.Output("echo hello"); err != nil || string(out) != "hello\n" {
		t.Fatalf("echo said %q, %v", out, err)
	}
	return client
}

// mustFail connects in vain, with this kind and these words.
func mustFail(t *testing.T, d *Dialer, to Target, kind fault.Kind, words ...string) error {
	t.Helper()
	client, err := d.Connect(soon(t), to)
	if err == nil {
		client.Close()
		t.Fatal("connected")
	}
	checkFault(t, err, kind, words...)
	return err
}

func checkFault(t *testing.T, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if got := fault.KindOf(err); got != kind {
		t.Fatalf("kind %q, want %q: %v", got, kind, err)
	}
	text := err.Error() + "\n" + fault.RemedyOf(err)
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%q is not in:\n%s", word, text)
		}
	}
}

func TestConnectWithKeyFile(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	mustConnect(t, newDialer(t), target(s))
}

func TestConnectWithLeaseKey(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	to := target(s)
	to.LeaseKey, to.Endpoint.Identity = s.UserKeyFile, box.Identity{LeaseKey: true}
	mustConnect(t, newDialer(t), to)
}

func TestKeyRefused(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	to := target(s)
	other := filepath.Join(t.TempDir(), "other")
	sshdtest.WriteKey(t, other, nil)
	to.Endpoint.Identity.Files = []string{other, filepath.Join(t.TempDir(), "missing")}
	mustFail(t, newDialer(t), to, fault.Credentials, "web refused the login as "+s.User, other, "authorized_keys")

	to.Endpoint.Identity.Files = nil
	to.Title = "web of crew demo"
	mustFail(t, newDialer(t), to, fault.Credentials, "web of crew demo refused", "no key to offer")

	to.Endpoint.SecretUser = true
	if err := mustFail(t, newDialer(t), to, fault.Credentials); strings.Contains(err.Error(), s.User) {
		t.Errorf("the secret user name is in %q", err)
	}
}

// More wrong keys than the server suffers: it hangs up, which is a refused
// login all the same.
func TestTooManyKeysRefused(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{Config: []string{"MaxAuthTries 2"}})
	to := target(s)
	to.Endpoint.Identity.Files = nil
	for _, name := range []string{"a", "b", "c", "d"} {
		file := filepath.Join(t.TempDir(), name)
		sshdtest.WriteKey(t, file, nil)
		to.Endpoint.Identity.Files = append(to.Endpoint.Identity.Files, file)
	}
	mustFail(t, newDialer(t), to, fault.Credentials, "refused the login")
}

func TestServerWithoutPublicKeys(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{Config: []string{"PubkeyAuthentication no", "PasswordAuthentication yes"}})
	mustFail(t, newDialer(t), target(s), fault.Credentials, "it takes only password")
}

// dialOnly does the handshake as the mesh does: itself, with Dial's config.
func TestDialHandshakeByCaller(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	conn, config, err := newDialer(t).Dial(soon(t), target(s))
	if err != nil {
		t.Fatal(err)
	}
	c, channels, requests, err := ssh.NewClientConn(conn, "anything", config)
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(c, channels, requests)
	client.Close()
	client.Wait()
}

// fakeServer accepts connections and does to each what serve says, until the
// test ends.
func fakeServer(t *testing.T, network, address string, serve func(net.Conn)) net.Addr {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			running.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return l.Addr()
}

func TestServerThatNeverSpeaks(t *testing.T) {
	addr := fakeServer(t, "tcp", "127.0.0.1:0", func(c net.Conn) { io.Copy(io.Discard, c) })
	to := Target{Name: "mute", Endpoint: box.Endpoint{Dialer: box.DialTCP, Addrs: []string{addr.String()}, User: "me"}}
	start := time.Now()
	_, err := newDialer(t).Connect(within(t, 200*time.Millisecond), to)
	checkFault(t, err, fault.Timeout, "mute", "took too long")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestInterruptedConnect(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	addr := fakeServer(t, "tcp", "127.0.0.1:0", func(net.Conn) { cancel() })
	to := Target{Name: "mute", Endpoint: box.Endpoint{Dialer: box.DialTCP, Addrs: []string{addr.String()}, User: "me"}}
	_, err := newDialer(t).Connect(ctx, to)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the context's error inside", err)
	}
}

func TestServerThatSpeaksGarbage(t *testing.T) {
	for name, garbage := range map[string]string{
		"http":   "HTTP/1.1 400 Bad Request\r\n\r\n",
		"binary": strings.Repeat("\x00\xff\x1b[31m", 4000),
		"nearly": "SSH-2.0-x\r\n" + strings.Repeat("nonsense", 100),
		"hangup": "",
	} {
		t.Run(name, func(t *testing.T) {
			addr := fakeServer(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
				bufio.NewReader(c).ReadString('\n')
				io.WriteString(c, garbage)
				c.Close()
			})
			to := Target{Name: "odd", Endpoint: box.Endpoint{Dialer: box.DialTCP, Addrs: []string{addr.String()}, User: "me"}}
			err := mustFail(t, newDialer(t), to, fault.Failed, "odd", "SSH server")
			if strings.Contains(err.Error(), "\x1b") {
				t.Errorf("raw escape sequence in %q", err)
			}
		})
	}
}

func TestUnixSocket(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	dir, err := os.MkdirTemp("", "cbx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	fakeServer(t, "unix", socket, func(c net.Conn) { splice(t, c, s.Addr) })
	to := target(s)
	to.Endpoint.Dialer, to.Endpoint.Addrs, to.Endpoint.Socket = box.DialUnix, nil, socket
	mustConnect(t, newDialer(t), to)

	to.Endpoint.Socket += "gone"
	mustFail(t, newDialer(t), to, fault.Failed, "cannot reach web")
}

// splice joins a connection with a TCP address until either ends.
func splice(t *testing.T, c net.Conn, addr string) { spliceTo(t, c, "tcp", addr) }

func spliceTo(t *testing.T, c net.Conn, network, addr string) {
	up, err := net.Dial(network, addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer up.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(c, up)
		c.Close()
	}()
	io.Copy(up, c)
	up.Close()
	<-done
}

func TestOpener(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	to := target(s)
	to.Endpoint.Dialer = box.DialOpener
	mustFail(t, newDialer(t), to, fault.Failed, "no way to open a stream")
	to.Open = func(ctx context.Context) (net.Conn, error) {
		var plain net.Dialer
		return plain.DialContext(ctx, "tcp", s.Addr)
	}
	mustConnect(t, newDialer(t), to)
}
