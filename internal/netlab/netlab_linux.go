// Package netlab gives a test a small network of its own: hosts in network
// namespaces, joined by a switch, that can lose their link and change their
// address. It works for root and, by a user namespace, for anybody else; nothing
// outside the test's own namespaces is touched and all of it ends with the test.
package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"crabbox/internal/nstest"
)

// inside is set in the process that lives in the lab's namespaces.
const inside = "CRABBOX_NETLAB_INSIDE"

// Gateway is the test's own address on the lab's switch; hosts are 10.77.0.2 and up.
var Gateway = netip.MustParseAddr("10.77.0.1")

// Lab is the network of one test.
type Lab struct {
	t     testing.TB
	hosts int
}

// Host is one machine of the lab: a network namespace with one interface.
type Host struct {
	Name string
	Addr netip.Addr
	lab  *Lab
}

// Run runs the body of a test inside a network of its own. The test binary is
// started again for it, with this test alone; the body runs there. nstest says
// what happens where there are no namespaces to be had.
func Run(t *testing.T, body func(*Lab)) {
	t.Helper()
	if os.Getenv(inside) != "" {
		lab := &Lab{t: t}
		lab.setUp()
		body(lab)
		return
	}
	nstest.NeedNetwork(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v", "-test.count=1", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), inside+"=1", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Getuid() != 0 {
		a := cmd.SysProcAttr
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		a.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_NET_RAW}
	}
	// Pdeathsig is tied to the thread that starts the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	t.Logf("in the lab:\n%s", out)
	if err != nil {
		t.Fatalf("the test failed in the lab: %v", err)
	}
	if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatal("the test did not run in the lab")
	}
}

// setUp makes the switch. ip keeps names of namespaces under /run/netns, so /run
// becomes a folder of our own.
func (l *Lab) setUp() {
	l.t.Helper()
	if err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"),
		os.Mkdir("/run/netns", 0o755),
		os.Mkdir("/run/sshd", 0o755), // where a root sshd keeps its empty folder
	); err != nil {
		l.t.Fatal(err)
	}
	l.ip("link", "set", "lo", "up")
	l.ip("link", "add", "lab0", "type", "bridge")
	l.ip("addr", "add", Gateway.String()+"/24", "dev", "lab0")
	l.ip("link", "set", "lab0", "up")
}

// Host adds a machine.
func (l *Lab) Host(name string) *Host {
	l.t.Helper()
	l.hosts++
	h := &Host{Name: name, Addr: netip.AddrFrom4([4]byte{10, 77, 0, byte(l.hosts + 1)}), lab: l}
	l.ip("netns", "add", name)
	l.ip("link", "add", h.port(), "type", "veth", "peer", "name", "eth0", "netns", name)
	l.ip("link", "set", h.port(), "master", "lab0")
	l.ip("link", "set", h.port(), "up")
	h.run("ip", "link", "set", "lo", "up")
	h.run("ip", "addr", "add", h.Addr.String()+"/24", "dev", "eth0")
	h.run("ip", "link", "set", "eth0", "up")
	return h
}

// port is the host's plug in the switch.
func (h *Host) port() string { return "p-" + h.Name }

// Command prepares a command that runs on the host.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", h.Enter(append([]string{name}, args...)...)...)
}

// Enter returns the arguments of nsenter that run args on the host.
func (h *Host) Enter(args ...string) []string {
	return append([]string{"--net=/run/netns/" + h.Name, "--"}, args...)
}

// Do runs f on a thread that lives on the host: sockets that f opens are the
// host's and stay so.
func (h *Host) Do(f func()) {
	h.lab.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ns, err := os.Open("/run/netns/" + h.Name)
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		h.lab.t.Fatal(err)
	}
}

// Unplug loses the host's packets without a word to anybody; Plug ends that.
func (h *Host) Unplug() { h.lab.t.Helper(); h.lab.ip("link", "set", h.port(), "nomaster") }

// Plug connects the host to the switch again.
func (h *Host) Plug() { h.lab.t.Helper(); h.lab.ip("link", "set", h.port(), "master", "lab0") }

// Move gives the host another address instead of the one that it has.
func (h *Host) Move(to netip.Addr) {
	h.lab.t.Helper()
	h.run("ip", "addr", "flush", "dev", "eth0")
	h.run("ip", "addr", "add", to.String()+"/24", "dev", "eth0")
	h.Addr = to
}

func (h *Host) run(args ...string) {
	h.lab.t.Helper()
	if out, err := h.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		h.lab.t.Fatalf("on %s: %s: %v\n%s", h.Name, strings.Join(args, " "), err, out)
	}
}

func (l *Lab) ip(args ...string) {
	l.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		l.t.Fatal(fmt.Errorf("ip %s: %w\n%s", strings.Join(args, " "), err, out))
	}
}
