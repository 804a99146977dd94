//go:build unix

package store

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"crabbox/internal/fault"
)

const errFull = syscall.ENOSPC

func checkMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != want {
		t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
	}
}

func TestOpenRefusesAFolderOfAnotherUser(t *testing.T) {
	root := "/usr" // root's, for a plain user
	if os.Geteuid() == 0 {
		root = shortDir(t)
		if err := os.Chown(root, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Open(root)
	checkFault(t, err, fault.NotOurs, "CRABBOX_HOME")
}

// A write that the disk does not take (here: a limit on the size of files, which
// cuts it in the middle) leaves the old content and nothing else.
func TestWriteFileThatDoesNotFitKeepsTheOld(t *testing.T) {
	if !alone(t) {
		return
	}
	s := newStore(t)
	l := lease("cbx_000000000001", "demo", "web")
	if err := s.SaveLease(l); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(s.leasePath(l.Box.ID))
	if err != nil {
		t.Fatal(err)
	}
	l.Box.Note = strings.Repeat("x", 64<<10)
	var saveErr error
	withFileSizeLimit(t, 16<<10, func() { saveErr = s.SaveLease(l) })
	checkFault(t, saveErr, fault.Failed, "Free some space")
	checkContent(t, s.leasePath(l.Box.ID), string(old))
	checkTree(t, s, "leases/cbx_000000000001.json")
}

// withFileSizeLimit runs f while this process cannot make files of more than
// limit bytes.
func withFileSizeLimit(t *testing.T, limit uint64, f func()) {
	t.Helper()
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	tight := old
	tight.Cur = limit
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &tight); err != nil {
		t.Fatal(err)
	}
	f()
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
}

func TestOpenThroughASymlinkOfTheUser(t *testing.T) {
	dir := shortDir(t)
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	s, err := Open(filepath.Join(dir, "link"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.WriteFile([]byte("x"), "f"); err != nil {
		t.Fatal(err)
	}
	checkContent(t, filepath.Join(dir, "real", "f"), "x")
}

// alone runs the test in a process of its own, since a limit on files would
// also meet what the test program itself writes. It tells whether this is that
// process; in the other one the test is over when it returns.
func alone(t *testing.T) bool {
	t.Helper()
	const mark = "CRABBOX_TEST_ALONE"
	if os.Getenv(mark) != "" {
		return true
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), mark+"=1")
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("alone: %v\n%s", err, out)
	}
	return false
}
