package workspace_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"crabbox/internal/fault"
	"crabbox/internal/workspace"
)

// faultyTar is a toolbox whose tar does its work and then fails, as a
// connection that is lost just then.
func faultyTar(t *testing.T, b *box) (repair func()) {
	t.Helper()
	dir := toolbox(t, nil)
	*b = startBox(t, dir)
	real, err := exec.LookPath("tar")
	if err != nil {
		t.Fatal(err)
	}
	wrapper := filepath.Join(dir, "tar")
	if err := os.Remove(wrapper); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(wrapper, []byte("#!/bin/sh\n"+real+" \"$@\"\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(wrapper); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(real, wrapper); err != nil {
			t.Fatal(err)
		}
	}
}

// A crash leaves nothing behind that a later Sync does not know.
func TestCrashAfterSending(t *testing.T) {
	var b box
	repair := faultyTar(t, &b)
	repo := newRepo(t, map[string]string{"a": "a", "later gone": "x", "d/later gone": "x"})
	_, err := workspace.Sync(t.Context(), b.client, repo, func(string) {})
	if !errors.Is(err, fault.Failed) {
		t.Fatalf("error %v, want a failure", err)
	}
	repair()
	remove(t, repo, "later gone", "d")
	r := b.sync(t, repo)
	expect(t, r, 0, 2, 1) // what the broken Sync did is not done again
}

// A list that is broken is made good; what it no longer names is sent again.
func TestBrokenList(t *testing.T) {
	onEachBox(t, func(t *testing.T, b box) {
		repo := newRepo(t, map[string]string{"a": "a", "d/b": "b", "d/e/c": "c"})
		r := b.sync(t, repo)
		for damage, resent := range map[string]int{
			": >../.proj.files":                     3,
			"echo \"f 'half\" >../.proj.files":      3,
			"rm ../.proj.files":                     3,
			"echo \"f './a'\" >../.proj.files":      2,
			"echo \"f 'half\" >>../.proj.files":     0,
			"rm -r ../proj":                         3,
			"rm -r ../proj ../.proj.files":          3,
			"echo 'echo x; exit 7' >../.proj.files": 3,
		} {
			b.run(t, r, damage)
			if r := b.sync(t, repo); r.Sent != resent {
				t.Errorf("%s: sent %d files, want %d", damage, r.Sent, resent)
			}
			expect(t, b.sync(t, repo), 0, 0, 3)
		}
	})
}

func TestFileThatNeverStopsChanging(t *testing.T) {
	b := startBox(t, os.Getenv("PATH"))
	repo := newRepo(t, map[string]string{"calm": ""})
	log, err := os.Create(filepath.Join(repo, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := log.Truncate(16 << 20); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for size := int64(16 << 20); ctx.Err() == nil; size++ {
			if err := log.Truncate(size); err != nil {
				return
			}
		}
	}()
	_, err = workspace.Sync(t.Context(), b.client, repo, func(string) {})
	cancel()
	<-stopped
	if !errors.Is(err, fault.Conflict) || fault.RemedyOf(err) == "" {
		t.Errorf("error %v, want a conflict with a remedy", err)
	}
	b.sync(t, repo)
}

// meter counts what goes up a connection.
type meter struct {
	net.Conn
	up *atomic.Int64
}

func (m meter) Write(p []byte) (int, error) {
	n, err := m.Conn.Write(p)
	m.up.Add(int64(n))
	return n, err
}

func TestFiveThousandUnchangedFiles(t *testing.T) {
	const files = 5000
	content := map[string]string{}
	for i := range files {
		content[fmt.Sprintf("pkg%02d/sub%d/file%d.go", i%50, i%7, i)] = fmt.Sprintf("package p // %d\n%04000d", i, i)
	}
	repo := newRepo(t, content)
	b := opensshBox(t, os.Getenv("PATH"))
	var took [3]time.Duration
	var up [3]int64
	for i, sent := range []int{files, 0, 1} {
		if i == 2 {
			write(t, repo, "pkg00/sub0/file0.go", "package changed")
		}
		before, begin := b.up.Load(), time.Now()
		r := b.syncOnly(t, repo)
		took[i], up[i] = time.Since(begin), b.up.Load()-before
		expect(t, r, sent, 0, files-sent)
	}
	t.Logf("first %v, unchanged %v, one changed %v; bytes up %d", took[0], took[1], took[2], up)
	if up[1] > 16<<10 {
		t.Errorf("%d bytes went up for an unchanged tree", up[1])
	}
	if up[2] > 32<<10 {
		t.Errorf("%d bytes went up for one changed file", up[2])
	}
}
