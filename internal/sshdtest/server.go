// Package sshdtest runs a real OpenSSH server for tests: on a free loopback
// port, with keys and settings of its own, as root or as a plain user. It ends
// what it started, sessions included, by process id.
package sshdtest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// startLimit is how long a server may take until it listens.
const startLimit = 20 * time.Second

// Options change what Start does; the zero value is a server that lets the
// user that runs the test in with one key.
type Options struct {
	// Config are sshd_config lines; they come first, so they win.
	Config []string
	// Authorized are further authorized_keys lines.
	Authorized []string
	// HostKey is the server's only host key; nil makes a fresh ed25519 one.
	HostKey ed25519.PrivateKey
	// Host is the address to listen on; "" is 127.0.0.1. Port 0 takes a free one.
	Host string
	Port int
	// Wrap is put before the server's command line, for instance
	// "ip", "netns", "exec", NAME.
	Wrap []string
}

// Server is a running OpenSSH server.
type Server struct {
	Addr    string // host:port
	Host    string
	Port    int
	HostKey ssh.PublicKey // changed by SetHostKey
	User    string        // who may log in
	// UserKeyFile is an unencrypted private key that the server lets in;
	// UserKeyFile.pub is its public half.
	UserKeyFile string
	Dir         string // its files

	t       testing.TB
	program string
	options Options
	cmd     *exec.Cmd
	exited  chan struct{}
}

// Start runs a server until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	program, err := exec.LookPath("sshd")
	if err != nil {
		program = "/usr/sbin/sshd"
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("tests need OpenSSH's server (Debian: apt-get install openssh-server): %v", err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	s := &Server{Host: o.Host, Port: o.Port, User: me.Username, Dir: t.TempDir(), t: t, program: program, options: o}
	s.UserKeyFile = filepath.Join(s.Dir, "user_key")
	public := WriteKey(t, s.UserKeyFile, nil)
	lines := append([]string{string(ssh.MarshalAuthorizedKey(public))}, o.Authorized...)
	s.write("authorized_keys", strings.Join(lines, "\n")+"\n")
	s.SetHostKey(o.HostKey)
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // its separated half lives there
			t.Fatal(err)
		}
	}
	t.Cleanup(s.Stop)
	s.run()
	return s
}

// SetHostKey gives the server another host key from its next start on; nil
// makes a fresh one.
func (s *Server) SetHostKey(key ed25519.PrivateKey) {
	s.t.Helper()
	s.HostKey = WriteKey(s.t, filepath.Join(s.Dir, "host_key"), key)
}

// Restart ends the server with its sessions and starts it again at the same
// address.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.run()
}

// Stop ends the server and every session it has started. Stopping twice is fine.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	endTree(s.cmd.Process.Pid)
	<-s.exited
	s.cmd = nil
}

// Log is all that the server has written so far.
func (s *Server) Log() string {
	data, _ := os.ReadFile(s.logFile())
	return string(data)
}

// LogContains waits up to ten seconds until the log has text.
func (s *Server) LogContains(text string) bool {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if strings.Contains(s.Log(), text) {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// run starts the program and waits until it listens. Somebody else may take a
// free port between our look and its bind; then another one is tried.
func (s *Server) run() {
	s.t.Helper()
	wanted := s.Port
	for range 10 {
		if wanted == 0 {
			s.Port = s.freePort()
		}
		s.Addr = net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
		if s.try() {
			return
		}
	}
	s.t.Fatalf("sshd did not start; its log:\n%s", s.Log())
}

// try reports false when the program ended before it listened.
func (s *Server) try() bool {
	s.t.Helper()
	s.write("sshd_config", s.config())
	log, err := os.Create(s.logFile())
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	line := slices.Concat(s.options.Wrap, []string{s.program, "-D", "-e", "-f", filepath.Join(s.Dir, "sshd_config")})
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	s.cmd, s.exited = cmd, exited
	ready := fmt.Sprintf("Server listening on %s port %d.", s.Host, s.Port)
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); {
		if strings.Contains(s.Log(), ready) {
			return true
		}
		select {
		case <-exited:
			s.cmd = nil
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	s.Stop()
	return false
}

func (s *Server) config() string {
	var b strings.Builder
	for _, line := range s.options.Config {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintf(&b, `
ListenAddress %s
HostKey %s
AuthorizedKeysFile %s
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
UseDNS no
MaxStartups 100
LogLevel DEBUG1
Subsystem sftp internal-sftp
`, s.Addr, filepath.Join(s.Dir, "host_key"), filepath.Join(s.Dir, "authorized_keys"))
	if s.knows("PerSourcePenalties no") { // OpenSSH 9.8: our refused logins would lock the test out
		fmt.Fprintln(&b, "PerSourcePenalties no")
	}
	return b.String()
}

// knows tells whether this version of sshd accepts a configuration line.
func (s *Server) knows(line string) bool {
	s.write("probe_config", line+"\nHostKey "+filepath.Join(s.Dir, "host_key")+"\n")
	return exec.Command(s.program, "-t", "-f", filepath.Join(s.Dir, "probe_config")).Run() == nil
}

func (s *Server) freePort() int {
	s.t.Helper()
	if len(s.options.Wrap) > 0 {
		return 22 // another network: nothing of ours is there
	}
	l, err := net.Listen("tcp", net.JoinHostPort(s.Host, "0"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *Server) logFile() string { return filepath.Join(s.Dir, "sshd.log") }

func (s *Server) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// WriteKey writes an ed25519 key pair to file and file.pub and returns its
// public half; a nil key makes a fresh one.
func WriteKey(t testing.TB, file string, key ed25519.PrivateKey) ssh.PublicKey {
	t.Helper()
	if key == nil {
		_, key, _ = ed25519.GenerateKey(rand.Reader)
	}
	block, err := ssh.MarshalPrivateKey(key, "test")
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		file:          pem.EncodeToMemory(block),
		file + ".pub": append(bytes.TrimSpace(ssh.MarshalAuthorizedKey(public)), '\n'),
	} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return public
}
