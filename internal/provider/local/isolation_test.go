//go:build linux

package local

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"crabbox/internal/provider"
)

var namespaces = provider.Options{optIsolation: isolationNamespace}

// serveIn starts the helper's server in the box and waits until it listens.
func serveIn(t *testing.T, l *lease, addresses ...string) {
	t.Helper()
	session, err := l.client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := session.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("exec $" + EnvExecutable + " " + helperWord + " serve " + strings.Join(addresses, " ")); err != nil {
		t.Fatal(err)
	}
	word := make([]byte, len("listening"))
	if _, err := io.ReadFull(out, word); err != nil || string(word) != "listening" {
		t.Fatalf("the server in %s said %q, %v", l.Slug, word, err)
	}
	t.Cleanup(func() { _ = session.Close() })
}

// ask reads what a server that the box can reach says.
func ask(t *testing.T, l *lease, address string) string {
	t.Helper()
	c, err := l.client.Dial("tcp", address)
	if err != nil {
		t.Fatalf("%s to %s: %v", l.Slug, address, err)
	}
	defer c.Close()
	said, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}

// Two boxes have the same ports, low ones too, at the same time.
func TestOwnPorts(t *testing.T) {
	p := newProvider(t, settings(t))
	web, api := warmup(t, p, newOrder(t, "web", namespaces)), warmup(t, p, newOrder(t, "api", namespaces))
	for _, l := range []*lease{web, api} {
		serveIn(t, l, "127.0.0.1:8080", "127.0.0.1:80", "[::1]:8080")
		for _, address := range []string{"127.0.0.1:8080", "127.0.0.1:80", "[::1]:8080"} {
			if said := ask(t, l, address); said != l.Slug {
				t.Errorf("%s of %s is answered by %q", address, l.Slug, said)
			}
		}
	}
}

func TestOwnNamespaces(t *testing.T) {
	l := warmup(t, newProvider(t, settings(t)), newOrder(t, "web", namespaces))
	for _, kind := range []string{"user", "mnt", "pid", "uts", "ipc", "net"} {
		ours, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		if theirs := l.sh("readlink /proc/self/ns/" + kind); theirs == ours {
			t.Errorf("the box shares the host's %s namespace", kind)
		}
	}
	if name := l.sh("hostname"); name != "web" {
		t.Errorf("the box is called %q", name)
	}
	if hosts := l.sh("cat /etc/hosts"); !strings.Contains(hosts, "127.0.0.1 web") {
		t.Errorf("the hosts file does not know the box: %s", hosts)
	}
	l.sh("echo 127.0.0.1 other >> /etc/hosts") // its own, so it may
	if pids := strings.Fields(l.sh("cd /proc; echo [0-9]*")); len(pids) > 5 || pids[0] != "1" {
		t.Errorf("the box sees processes %v", pids)
	}
	if uid := l.sh("id -u"); uid != strconv.Itoa(os.Geteuid()) {
		t.Errorf("user id in the box: %s", uid)
	}
	if l.Note != "" {
		t.Errorf("an isolated box has the note %q", l.Note)
	}
}

// The operator's secrets are not there: home, ~/.ssh, CRABBOX_HOME, the
// environment, host's /tmp and /run.
func TestHidden(t *testing.T) {
	own, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.MkdirTemp(own, "cbx") // a place that is not hidden for being in /tmp
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	crab := filepath.Join(home, "crab")
	tmp := t.TempDir()
	secrets := []string{filepath.Join(home, ".ssh", "id_ed25519"), filepath.Join(crab, "config.yaml"), filepath.Join(tmp, "file")}
	for _, file := range secrets {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("secret"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := settings(t)
	s.UserHome = home
	getenv := s.Getenv
	s.Getenv = func(key string) string {
		if key == "CRABBOX_HOME" {
			return crab
		}
		return getenv(key)
	}
	t.Setenv("CBX_TEST_TOKEN", "secret")
	leaked, err := unix.Dup(0) // open in whoever starts boxes, also beyond an exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leaked)
	l := warmup(t, newProvider(t, s), newOrder(t, "web", namespaces))

	for _, file := range append(secrets, l.Endpoint.Socket) {
		if out, code := l.try("ls " + file); code == 0 {
			t.Errorf("the box can see %s: %s", file, out)
		}
	}
	if out, code := l.try("cat /proc/self/environ /proc/1/environ | grep -a CBX_TEST"); code == 0 {
		t.Errorf("the box has the operator's environment: %s", out)
	}
	for _, way := range []string{"ls /proc/1/fd/3/", "ls /proc/1/cwd/", "cat /proc/1/maps", "cat /proc/1/environ", "head -c1 /proc/1/mem"} {
		if out, code := l.try(way); code == 0 {
			t.Errorf("commands can look into the box's process: %s: %s", way, out)
		}
	}
	if fds := strings.Fields(l.sh("ls /proc/self/fd")); !slices.Equal(fds, []string{"0", "1", "2", "3"}) { // 3 is the folder that ls reads
		t.Errorf("a command has the files %v", fds)
	}
	if run := l.sh("ls /run"); run != "crabbox\nlock" {
		t.Errorf("/run has %q", run)
	}
	if out, code := l.try("head -1 /etc/passwd"); code != 0 {
		t.Errorf("the box cannot see the system: %s", out)
	}
}

func TestOwnFolders(t *testing.T) {
	p := newProvider(t, settings(t))
	one, two := warmup(t, p, newOrder(t, "one", namespaces)), warmup(t, p, newOrder(t, "two", namespaces))
	for _, dir := range []string{"~", "/tmp", "/var/tmp", "/dev/shm", "/run"} {
		one.sh("echo one > " + dir + "/file")
		if out, code := two.try("cat " + dir + "/file"); code == 0 {
			t.Errorf("%s is shared: %q", dir, out)
		}
	}
	if home := one.sh("pwd"); home != one.sh("echo $HOME") {
		t.Errorf("commands start in %s", home)
	}
	one.sh("echo x > /dev/null && head -c1 /dev/urandom > /dev/null && head -c1 /dev/zero > /dev/null")
	if devices := one.sh("find /dev -type b"); devices != "" {
		t.Errorf("the box has disks: %s", devices)
	}
}

func TestTerminal(t *testing.T) {
	l := warmup(t, newProvider(t, settings(t)), newOrder(t, "web", namespaces))
	session, err := l.client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if err := session.RequestPty("xterm", 30, 100, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	out, err := session.Output("tty; stty size; : > /dev/tty")
	if err != nil || !strings.HasPrefix(string(out), "/dev/pts/") || !strings.Contains(string(out), "30 100") {
		t.Errorf("the terminal says %q, %v", out, err)
	}
}

// PID 1 collects whoever loses their parent.
func TestOrphansAreCollected(t *testing.T) {
	both(t, func(t *testing.T, options provider.Options) {
		l := warmup(t, newProvider(t, settings(t)), newOrder(t, "web", options))
		l.sh("(true & true & true &) ; true")
		record, err := readRecord(filepath.Dir(l.Endpoint.Socket))
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "a box without dead children", func() bool {
			children, err := os.ReadFile("/proc/" + strconv.Itoa(record.Pid) + "/stat")
			return err == nil && len(children) > 0 && zombiesOf(record.Pid) == 0
		})
	})
}

func zombiesOf(pid int) int {
	n := 0
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat)[strings.LastIndexByte(string(stat), ')')+1:])
		if fields[0] == "Z" && fields[1] == strconv.Itoa(pid) {
			n++
		}
	}
	return n
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came: %s", what)
		}
	}
}

// With network=host the box reaches what listens on the host, and keeps the
// rest of its isolation.
func TestHostNetwork(t *testing.T) {
	l := warmup(t, newProvider(t, settings(t)), newOrder(t, "web", provider.Options{optIsolation: isolationNamespace, optNetwork: networkHost}))
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if theirs := l.sh("readlink /proc/self/ns/net"); theirs != ours {
		t.Errorf("the box's network namespace is %s, the host's %s", theirs, ours)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if c, err := listener.Accept(); err == nil {
			_, _ = io.WriteString(c, "host")
			_ = c.Close()
		}
	}()
	if said := ask(t, l, listener.Addr().String()); said != "host" {
		t.Errorf("the box met %q", said)
	}
	if theirs, err := os.Readlink("/proc/self/ns/mnt"); err != nil || l.sh("readlink /proc/self/ns/mnt") == theirs {
		t.Errorf("the box shares the host's mounts, %v", err)
	}
	if host, err := os.ReadFile("/etc/resolv.conf"); err == nil && l.sh("cat /etc/resolv.conf") != strings.TrimSpace(string(host)) {
		t.Error("the box has another resolv.conf")
	}
}
