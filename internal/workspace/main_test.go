package workspace_test

import (
	"bytes"
	"context"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"crabbox/internal/session"
	"crabbox/internal/sshbox/sshboxtest"
	"crabbox/internal/sshdtest"
	"crabbox/internal/workspace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// box is a box that trees are sent to; home is its home folder, seen from here.
type box struct {
	home   string
	client *ssh.Client
	up     *atomic.Int64 // bytes that have gone up the connection
}

// onEachBox runs a test against OpenSSH's server, and against our own with
// dash and with bash as the POSIX shell.
func onEachBox(t *testing.T, test func(t *testing.T, b box)) {
	t.Run("openssh", func(t *testing.T) { test(t, opensshBox(t, os.Getenv("PATH"))) })
	t.Run("sshbox", func(t *testing.T) { test(t, startBox(t, os.Getenv("PATH"))) })
	t.Run("sshbox with bash", func(t *testing.T) {
		test(t, startBox(t, toolbox(t, map[string]string{"sh": "bash"})))
	})
}

// opensshBox is a real sshd without sftp whose commands live in a home folder of
// their own and find their tools in path.
func opensshBox(t *testing.T, path string) box {
	t.Helper()
	home := t.TempDir()
	s := sshdtest.Start(t, sshdtest.Options{Config: []string{
		"LogLevel INFO",
		"ForceCommand cd " + home + ` && HOME=$PWD PATH=` + path + ` && export HOME PATH && exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"`,
	}})
	return dial(t, home, s.Addr, s.User, s.UserKeyFile)
}

// startBox is our own server whose commands find their tools in path.
func startBox(t *testing.T, path string) box {
	t.Helper()
	home := t.TempDir()
	addr, key := sshboxtest.Start(t, home, path)
	return dial(t, home, addr, "me", key)
}

// toolbox makes a folder with the tools of a small system, some of them under
// another name or, with "", left out.
func toolbox(t *testing.T, other map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	tools := map[string]string{}
	for _, name := range strings.Fields("sh tar cat mv rm mkdir rmdir readlink sha256sum ln touch chmod") {
		tools[name] = name
	}
	for name, target := range other {
		tools[name] = target
	}
	for name, target := range tools {
		if target == "" {
			continue
		}
		program, err := exec.LookPath(target)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func dial(t *testing.T, home, addr, user, keyFile string) box {
	t.Helper()
	text, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stream.Close() })
	up := new(atomic.Int64)
	conn, channels, requests, err := ssh.NewClientConn(meter{stream, up}, addr, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		t.Fatal(err)
	}
	c := ssh.NewClient(conn, channels, requests)
	t.Cleanup(func() { c.Close() })
	return box{home, c, up}
}

// sync sends a tree and checks that the box then has exactly it, besides extra.
func (b box) sync(t *testing.T, repo string, extra ...string) workspace.Result {
	t.Helper()
	r := b.syncOnly(t, repo)
	want, got := tree(t, repo), tree(t, b.path(r))
	for _, name := range extra {
		delete(got, name)
	}
	for name, w := range want {
		if g, ok := got[name]; !ok {
			t.Errorf("%q is not on the box", name)
		} else if g != w {
			t.Errorf("%q on the box is %.60q, here it is %.60q", name, g, w)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%q is on the box and not here", name)
	}
	return r
}

func (b box) syncOnly(t *testing.T, repo string) workspace.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := workspace.Sync(ctx, b.client, repo, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b box) path(r workspace.Result) string { return filepath.Join(b.home, r.Dir) }

// run runs a shell line in the tree on the box.
func (b box) run(t *testing.T, r workspace.Result, line string) string {
	t.Helper()
	var out, talk bytes.Buffer
	code, err := session.Run(t.Context(), b.client, session.Command{Line: line, Dir: r.Dir, Stdout: &out, Stderr: &talk})
	if err != nil || code != 0 {
		t.Fatalf("%q on the box: code %d, %v, %s", line, code, err, talk.String())
	}
	return out.String()
}

// tree describes all files below a folder, .git left out.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == ".git" {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			files[name] = "link to " + target
			return err
		}
		text, err := os.ReadFile(path)
		files[name] = info.Mode().String() + " " + string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// newRepo makes a repository with files, one commit.
func newRepo(t *testing.T, files map[string]string) string {
	t.Helper()
	repo := filepath.Join(t.TempDir(), "proj")
	if err := os.Mkdir(repo, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		write(t, repo, name, text)
	}
	gitIn(t, repo, "init", "-q")
	gitIn(t, repo, "add", "-A")
	gitIn(t, repo, "commit", "-q", "-m", "all")
	return repo
}

func gitIn(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "protocol.file.allow=always", "-C", dir}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
}

// write writes a file of the tree; a text that starts with "-> " is a link.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if target, ok := strings.CutPrefix(text, "-> "); ok {
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func expect(t *testing.T, got workspace.Result, sent, deleted, unchanged int) {
	t.Helper()
	if got.Sent != sent || got.Deleted != deleted || got.Unchanged != unchanged {
		t.Errorf("sent %d, deleted %d, unchanged %d; want %d, %d, %d", got.Sent, got.Deleted, got.Unchanged, sent, deleted, unchanged)
	}
}
