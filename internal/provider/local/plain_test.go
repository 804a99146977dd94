//go:build linux

package local

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Everything holds for a plain user as well: as root, this package's tests run
// once more as somebody with a home folder and no rights.
func TestAsPlainUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return // then all of them are running as a plain user anyway
	}
	const nobody = 65534
	place, err := os.MkdirTemp("/srv", "cbx") // homes are not in /tmp, which boxes have of their own
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(place)
	home, binary := filepath.Join(place, "home"), filepath.Join(place, "local.test")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, owner := range map[string]int{place: 0, home: nobody} {
		if err := os.Chown(path, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(place, 0o755); err != nil {
		t.Fatal(err)
	}
	copyExecutable(t, binary)
	t.Parallel() // from here: a child that another test starts while the copy is written would keep it busy

	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.timeout=5m", "-test.skip=^TestBuilt")
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=/tmp", "GORACE=" + os.Getenv("GORACE"), "CI=" + os.Getenv("CI")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as a plain user: %v\n%s", err, out)
	}
	if ran := strings.Count(string(out), "--- PASS: Test"); ran < 10 {
		t.Errorf("only %d tests ran as a plain user\n%s", ran, out)
	}
}

func copyExecutable(t *testing.T, to string) {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(executable)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, from); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
