package store

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"crabbox/internal/fault"
	"crabbox/internal/nstest"
)

// asPlainUser runs f with the rights of a user who is not root. Only the thread
// that f runs on changes its user; it ends with f.
func asPlainUser(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		const nobody = 65534
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, nobody, nobody, nobody)
		if errno == 0 {
			_, _, errno = unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody)
		}
		if errno == 0 {
			f()
		}
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		t.Fatal(errno)
	}
}

// plainUsersDir is a folder that the user of asPlainUser owns.
func plainUsersDir(t *testing.T) string {
	t.Helper()
	dir := shortDir(t)
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOpenInAReadOnlyHome(t *testing.T) {
	dir := plainUsersDir(t)
	asPlainUser(t, func() {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Error(err)
		}
		_, err := Open(filepath.Join(dir, ".crabbox"))
		checkFault(t, err, fault.Failed, "CRABBOX_HOME")
		_, err = Open(dir)
		checkFault(t, err, fault.Failed, "CRABBOX_HOME")
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Error(err)
		}
		if _, err := Open(dir); err != nil {
			t.Errorf("writable again: %v", err)
		}
	})
}

func TestLeasesSetsAsideAnUnreadableFile(t *testing.T) {
	dir := plainUsersDir(t)
	asPlainUser(t, func() {
		s, err := Open(dir)
		if err != nil {
			t.Error(err)
			return
		}
		for _, id := range []string{"cbx_000000000001", "cbx_000000000002"} {
			if err := s.SaveLease(lease(id, "demo", "web-"+id[15:])); err != nil {
				t.Error(err)
			}
		}
		if err := os.Chmod(s.leasePath("cbx_000000000001"), 0); err != nil {
			t.Error(err)
		}
		checkLeases(t, s, []string{"cbx_000000000002"}, []string{"cbx_000000000001.json"})
		checkLeases(t, s, []string{"cbx_000000000002"}, nil)
	})
}

const smallDisk = "CRABBOX_TEST_SMALL_DISK"

// TestFullDisk writes until a file system of 256 KiB is full.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(smallDisk); dir != "" {
		fillDisk(t, dir)
		return
	}
	nstest.Need(t)
	child := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	child.Env = append(os.Environ(), smallDisk+"="+shortDir(t))
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := child.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// fillDisk runs as root of a mount namespace of its own.
func fillDisk(t *testing.T, dir string) {
	if err := unix.Mount("disk", dir, "tmpfs", 0, "size=256k,mode=0700"); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := lease("cbx_000000000001", "demo", "web")
	if err := s.SaveLease(l); err != nil {
		t.Fatal(err)
	}
	if _, err := s.NewKey(l.Box.ID); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(s.leasePath(l.Box.ID))
	if err != nil {
		t.Fatal(err)
	}
	ballast, err := os.Create(s.Path("ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = ballast.Write(make([]byte, 4096))
	}
	ballast.Close()

	l.Box.Note = "changed"
	err = s.SaveLease(l)
	checkFault(t, err, fault.Failed, "Free some space")
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v, want ENOSPC below it", err)
	}
	if strings.Contains(err.Error(), tempSuffix) {
		t.Errorf("%v names a file that nobody knows", err)
	}
	checkContent(t, s.leasePath(l.Box.ID), string(old))
	_, err = s.Address(t.Context(), "demo", "web")
	checkFault(t, err, fault.Failed, "Free some space")

	again, err := Open(dir)
	if err != nil {
		t.Fatalf("a full disk keeps us from reading: %v", err)
	}
	checkLeases(t, again, []string{"cbx_000000000001"}, nil)
	if err := s.RemoveLease(l.Box.ID); err != nil {
		t.Errorf("a full disk keeps us from forgetting: %v", err)
	}
	checkTree(t, s, "ballast")
}
