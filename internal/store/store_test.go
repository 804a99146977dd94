package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crabbox/internal/fault"
)

// newStore opens a store in a folder short enough for sockets.
func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(shortDir(t), "home"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cbx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestOpenMakesAFolderOfOurOwn(t *testing.T) {
	root := filepath.Join(shortDir(t), "a", "b")
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	checkMode(t, root, 0o700)
	if got, want := s.Path("crew", "x"), filepath.Join(root, "crew", "x"); got != want {
		t.Errorf("Path = %s, want %s", got, want)
	}
	if got, want := s.CrewDir("demo"), filepath.Join(root, "crew", "demo"); got != want {
		t.Errorf("CrewDir = %s, want %s", got, want)
	}
}

func TestOpenClosesAFolderThatIsOpenToOthers(t *testing.T) {
	root := shortDir(t)
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root); err != nil {
		t.Fatal(err)
	}
	checkMode(t, root, 0o700)
}

func TestOpenRefusesAFile(t *testing.T) {
	root := filepath.Join(shortDir(t), "file")
	if err := os.WriteFile(root, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(root)
	checkFault(t, err, fault.Usage, "CRABBOX_HOME")
}

// The longest path that Open accepts is the longest that can be bound.
func TestOpenRefusesAFolderThatIsTooLongForSockets(t *testing.T) {
	socket := filepath.Join("providers", "local", "cbx_123456789abc", "ssh.sock")
	room := maxSocketPath - len(socket) - 1
	root := shortDir(t)
	fits := root + "/" + strings.Repeat("x", room-len(root)-1)
	if _, err := Open(fits); err != nil {
		t.Errorf("a folder of %d bytes: %v", len(fits), err)
	}
	_, err := Open(fits + "x")
	checkFault(t, err, fault.Usage, "shorter")
	if _, err := os.Stat(fits + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the refused folder was made: %v", err)
	}
}

func TestOpenSweepsOldTemporaryFiles(t *testing.T) {
	s := newStore(t)
	if err := s.WriteFile(nil, "crew", "demo", "hosts"); err != nil {
		t.Fatal(err)
	}
	old, young := s.Path("crew", "demo", ".hosts.1.tmp"), s.Path(".known_hosts.2.tmp")
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yesterday := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(old, yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an old temporary file is still there: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("the file of a writer at work: %v", err)
	}
}

func TestWriteFileIsPrivateAndReplacesSymlinks(t *testing.T) {
	s := newStore(t)
	target := filepath.Join(shortDir(t), "victim")
	if err := os.WriteFile(target, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(s.CrewDir("demo"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, s.Path("crew", "demo", "hosts")); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteFile([]byte("ours"), "crew", "demo", "hosts"); err != nil {
		t.Fatal(err)
	}
	checkContent(t, target, "mine")
	checkContent(t, s.Path("crew", "demo", "hosts"), "ours")
	checkMode(t, s.Path("crew", "demo", "hosts"), 0o600)
	checkMode(t, s.Path("crew", "demo"), 0o700)
	checkTree(t, s, "crew/demo/hosts")
}

func TestWriteFileStaysBelowTheRoot(t *testing.T) {
	s := newStore(t)
	for _, elem := range [][]string{{"../x"}, {"crew", "../../x"}, {"crew", "..", "..", "x"}, {"/etc/x"}, {""}} {
		err := s.WriteFile([]byte("x"), elem...)
		if !errors.Is(err, fault.Usage) {
			t.Errorf("WriteFile(%q) = %v, want wrong usage", elem, err)
		}
	}
	checkTree(t, s)
}

func TestWriteFaultKnowsAFullDisk(t *testing.T) {
	err := writeFault("/x/y", &fs.PathError{Op: "write", Path: "/x/y", Err: errFull})
	checkFault(t, err, fault.Failed, "Free some space")
	err = writeFault("/x/y", &fs.PathError{Op: "write", Path: "/x/y", Err: fs.ErrPermission})
	checkFault(t, err, fault.Failed, "CRABBOX_HOME")
}

func checkFault(t *testing.T, err error, kind fault.Kind, remedy string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(fault.RemedyOf(err), remedy) {
		t.Errorf("error %v (kind %q, remedy %q), want kind %q and a remedy with %q", err, fault.KindOf(err), fault.RemedyOf(err), kind, remedy)
	}
}

func checkContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q (%v), want %q", path, got, err, want)
	}
}

// checkTree compares the files below the root, lock files left out.
func checkTree(t *testing.T, s *Store, want ...string) {
	t.Helper()
	var got []string
	err := filepath.WalkDir(s.root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !strings.HasSuffix(path, ".lock") {
			name, _ := filepath.Rel(s.root, path)
			got = append(got, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("files %q (%v), want %q", got, err, want)
	}
}
