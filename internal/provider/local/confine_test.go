//go:build linux

package local

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"crabbox/internal/nstest"
)

// writable are the only mounts of a box that are not read-only.
func writable(l *lease) []string {
	return []string{l.sh("echo $HOME"), "/tmp", "/var/tmp", "/run", "/etc/hosts", "/dev", "/dev/pts", "/dev/shm", "/proc"}
}

func TestReadOnlySystem(t *testing.T) {
	l := warmup(t, newProvider(t, settings(t)), newOrder(t, "web", namespaces))
	allowed := writable(l)
	for line := range strings.Lines(l.sh("cat /proc/self/mountinfo")) {
		fields := strings.Fields(line)
		if path := fields[4]; !slices.Contains(strings.Split(fields[5], ","), "ro") && !slices.Contains(allowed, path) {
			t.Errorf("a mount can be written: %s", line)
		}
	}
	for _, file := range []string{"/etc/cbx", "/usr/cbx", "/bin/cbx", "/cbx", "/var/cbx", "/var/lib/cbx", "/sys/cbx", "/home/cbx"} {
		if _, code := l.try("touch " + file); code == 0 {
			_ = os.Remove(file)
			t.Errorf("the box could make %s", file)
		}
	}
	for _, dir := range []string{"~", "/tmp", "/var/tmp", "/dev/shm", "/run"} {
		l.sh("touch " + dir + "/cbx") // so that failing means something
	}
}

// refusals are how the kernel forbids something.
var refusals = []syscall.Errno{unix.EPERM, unix.EACCES, unix.EROFS, unix.ENOSPC} // ENOSPC: no more user namespaces

// What a box must not be able to do, above all when the operator is root and
// the box's user id owns the system.
func TestNoWayOut(t *testing.T) {
	l := warmup(t, newProvider(t, settings(t)), newOrder(t, "web", namespaces))
	try := func(line string) {
		t.Helper()
		refusals := refusals
		if strings.HasPrefix(line, "userns umount") {
			refusals = append(slices.Clone(refusals), syscall.EINVAL) // what umount says of a locked mount
		}
		if out, code := l.try("$" + EnvExecutable + " " + helperWord + " syscall " + line); code == 0 {
			t.Errorf("the box could %s: %s", line, out)
		} else if !slices.ContainsFunc(refusals, func(r syscall.Errno) bool { return strings.HasSuffix(out, r.Error()) }) {
			t.Errorf("%s failed for another reason: exit code %d: %s", line, code, out)
		}
	}
	for _, mount := range []string{"/", "/etc", "/proc/sys", "/sys", "/dev/null", ExecutablePath} {
		for _, way := range []string{"remount", "superblock", "setattr", "umount"} {
			try(way + " " + mount)
		}
	}
	for _, line := range []string{
		"umount /tmp", "umount /run", "umount /proc", "tmpfs /etc", "mknod /tmp/disk", "chroot /", "ptrace",
		"userns remount /", "userns setattr /home", "userns umount /tmp", "userns umount /home", "userns chmod /dev/null",
		"create /etc", "create /usr", "write /etc/passwd", "write /proc/sys/kernel/hostname",
		"chmod /dev/null", "chmod " + ExecutablePath, "truncate " + ExecutablePath, "chmod /etc/passwd",
	} {
		try(line)
	}
	status := l.sh("cat /proc/self/status")
	for _, line := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if !strings.Contains(status, line+":\t0000000000000000") {
			t.Errorf("%s is not empty", line)
		}
	}
	if !strings.Contains(status, "NoNewPrivs:\t1") {
		t.Error("set-uid programs could give privileges")
	}
	if os.Geteuid() == 0 {
		if out, _ := l.try("cat /etc/shadow"); out != "" {
			t.Error("the box of root can read the shadow file")
		}
		if out, code := l.try("$" + EnvExecutable + " " + helperWord + " syscall write /proc/sys/user/max_user_namespaces"); code == 0 {
			t.Errorf("the box of root can open namespaces again: %s", out)
		}
	}
}

// Kernels before 5.12 cannot do it in one step; the long way must come to the same.
func TestReadOnlyEach(t *testing.T) {
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	nstest.Need(t)
	cmd := exec.Command(executable, helperWord, "readonly")
	after, err := detach(cmd, wordProbe, life{}, filepath.Join(t.TempDir(), "box"))
	if err != nil {
		t.Fatal(err)
	}
	defer after()
	mounts, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, mounts)
	}
	covered := map[string]string{} // the last mount at a path is the one that is seen
	for line := range strings.Lines(string(mounts)) {
		covered[strings.Fields(line)[4]] = strings.Fields(line)[5]
	}
	if len(covered) < 2 {
		t.Fatalf("no mounts: %s", mounts)
	}
	for path, flags := range covered {
		var below unix.Statfs_t
		if unix.Statfs(path, &below) != nil {
			continue // nobody gets there
		}
		for _, flag := range []string{"ro", "nosuid", "nodev"} {
			if !slices.Contains(strings.Split(flags, ","), flag) {
				t.Errorf("%s has flags %s, without %s", path, flags, flag)
			}
		}
	}
}
