//go:build linux

package local

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/nstest"
	"crabbox/internal/provider"
)

// both runs a test for both kinds of box, beside other tests: these mostly wait.
func both(t *testing.T, test func(t *testing.T, options provider.Options)) {
	t.Parallel()
	for _, isolation := range []string{isolationNamespace, isolationProcess} {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			if isolation == isolationNamespace {
				nstest.Need(t)
			}
			test(t, provider.Options{optIsolation: isolation})
		})
	}
}

// busy fills the box with what is hard to clean up, and returns a mark that
// all its processes carry in their command line.
func busy(l *lease) (mark string) {
	mark = "86400" + strings.TrimPrefix(string(l.ID), "cbx_")[:4]
	mark = strings.Map(func(r rune) rune { return '0' + r%10 }, mark)
	mark += ".5"
	l.sh("mkdir -p ~/a/b && touch ~/a/b/c && chmod 500 ~/a/b && chmod 000 ~/a && ln -s /etc ~/link")
	l.sh("(nohup sleep " + mark + " >/dev/null 2>&1 &); setsid sh -c 'trap \"\" HUP TERM; sleep " + mark + "; :' >/dev/null 2>&1 </dev/null &")
	return mark
}

// nothingLeft checks that no process, file or mount of the box is there.
func nothingLeft(t *testing.T, p *Provider, id, mark string) {
	t.Helper()
	for _, word := range []string{mark, id} {
		eventually(t, "the end of "+word, func() bool { return len(processesOf(word)) == 0 })
	}
	if entries, err := os.ReadDir(p.dir); err != nil || len(entries) > 0 {
		t.Errorf("the provider's folder has %v, %v", entries, err)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), id) {
		t.Errorf("mounts of the box are left, %v", err)
	}
}

func TestReleaseLeavesNothing(t *testing.T) {
	both(t, func(t *testing.T, options provider.Options) {
		p := newProvider(t, settings(t))
		l := warmup(t, p, newOrder(t, "web", options))
		mark := busy(l)
		eventually(t, "the box's sleepers", func() bool { return len(processesOf("sleep "+mark)) >= 2 })
		if err := p.Destroy(testContext(t), l.ProviderID, l.Nonce); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, p, l.ProviderID, mark)
	})
}

func TestTimeOverLeavesNothing(t *testing.T) {
	both(t, func(t *testing.T, options provider.Options) {
		p := newProvider(t, settings(t))
		o := newOrder(t, "web", options)
		o.Box.Expires = time.Now().Add(3 * time.Second).Truncate(time.Second)
		l := warmup(t, p, o)
		mark := busy(l)
		eventually(t, "the end of the box", func() bool { return !p.alive(l.ProviderID) })
		if time.Now().Before(o.Box.Expires) {
			t.Error("the box ended too early")
		}
		nothingLeft(t, p, l.ProviderID, mark)
	})
}

// Without its folder nobody could reach a box or end it, so it ends by itself.
func TestFolderGoneEndsBox(t *testing.T) {
	t.Parallel()
	p := newProvider(t, settings(t))
	l := warmup(t, p, newOrder(t, "web", nil))
	pid := boxPid(t, p, l)
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := os.RemoveAll(p.dir); err != nil {
		t.Fatal(err)
	}
	if !exited(testContext(t), fd) {
		t.Error("the box lives on")
	}
}

// A box that does not listen to SIGTERM is ended all the same, with its commands.
func TestFrozenBoxEnds(t *testing.T) {
	both(t, func(t *testing.T, options provider.Options) {
		p := newProvider(t, settings(t))
		l := warmup(t, p, newOrder(t, "web", options))
		mark := busy(l)
		if err := unix.Kill(boxPid(t, p, l), unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if err := p.Destroy(testContext(t), l.ProviderID, l.Nonce); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, p, l.ProviderID, mark)
	})
}

func boxPid(t *testing.T, p *Provider, l *lease) int {
	t.Helper()
	r, err := readRecord(p.folder(l.ProviderID))
	if err != nil || r.Pid <= 1 {
		t.Fatalf("the record has pid %d, %v", r.Pid, err)
	}
	return r.Pid
}

// A box that was killed is not found any more, and its folder goes with the
// next look.
func TestKilledBoxIsGone(t *testing.T) {
	both(t, func(t *testing.T, options provider.Options) {
		s := settings(t)
		p := newProvider(t, s)
		l := warmup(t, p, newOrder(t, "web", options))
		if err := unix.Kill(boxPid(t, p, l), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the end of the box", func() bool { return !p.alive(l.ProviderID) })
		if _, err := p.Get(testContext(t), l.ProviderID); !errors.Is(err, fault.NotFound) {
			t.Errorf("Get: %v", err)
		}
		if _, err := os.Stat(p.folder(l.ProviderID)); err != nil {
			t.Fatalf("nothing to sweep: %v", err)
		}
		newProvider(t, s)
		nothingLeft(t, p, l.ProviderID, l.ProviderID)
	})
}

// innocent is a process that nobody may end but the test.
func innocent(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "3600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	return cmd
}

func forgePid(t *testing.T, p *Provider, id string, pid int) {
	t.Helper()
	r, err := readRecord(p.folder(id))
	if err != nil {
		t.Fatal(err)
	}
	r.Pid = pid
	if err := r.write(p.folder(id)); err != nil {
		t.Fatal(err)
	}
}

func isRunning(cmd *exec.Cmd) bool {
	_, dead := parentOf(cmd.Process.Pid)
	return !dead
}

// The process id in the record may be anybody's by now: of a box that is dead,
// and even of one that lives.
func TestRecycledPidIsNotKilled(t *testing.T) {
	both(t, func(t *testing.T, options provider.Options) {
		p := newProvider(t, settings(t))
		bystander := innocent(t)
		dead := warmup(t, p, newOrder(t, "dead", options))
		if err := unix.Kill(boxPid(t, p, dead), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the end of the box", func() bool { return !p.alive(dead.ProviderID) })
		alive := warmup(t, p, newOrder(t, "alive", options))
		for _, l := range []*lease{dead, alive} {
			forgePid(t, p, l.ProviderID, bystander.Process.Pid)
			if err := p.Destroy(testContext(t), l.ProviderID, l.Nonce); err != nil {
				t.Errorf("%s: %v", l.Slug, err)
			}
			if !isRunning(bystander) {
				t.Fatalf("%s: the innocent process was killed", l.Slug)
			}
		}
		nothingLeft(t, p, alive.ProviderID, dead.ProviderID)
	})
}

// launcher is another process that creates a box and stays, to be killed.
func launcher(t *testing.T, s provider.Settings, o order) (cmd *exec.Cmd, created *bufio.Reader) {
	t.Helper()
	o.Request.Progress = nil
	wish, err := json.Marshal(struct {
		Dir, Home, Executable string
		Options               provider.Options
		Request               any
	}{s.Dir, s.UserHome, s.Executable, o.Options, struct {
		Box                              box.Box
		Nonce, PublicKey, HostPrivateKey string
		Options                          provider.Options
	}{o.Box, o.Nonce, o.PublicKey, o.HostPrivateKey, o.Options}})
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(s.Executable, helperWord, "launch")
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.Stdin = bytes.NewReader(wish)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	return cmd, bufio.NewReader(out)
}

func TestSurvivesItsLauncher(t *testing.T) {
	both(t, func(t *testing.T, options provider.Options) {
		s := settings(t)
		o := newOrder(t, "web", options)
		cmd, out := launcher(t, s, o)
		if line, err := out.ReadString('\n'); err != nil || line != "created\n" {
			t.Fatalf("the launcher said %q, %v", line, err)
		}
		if err := unix.Kill(-cmd.Process.Pid, unix.SIGKILL); err != nil { // its whole group, as a terminal would
			t.Fatal(err)
		}
		_ = cmd.Wait()
		p := newProvider(t, s)
		l := warmup(t, p, o) // the same order: the box that is there
		if got := l.sh("echo alive"); got != "alive" {
			t.Errorf("the box says %q", got)
		}
		if l.Created.Unix() != o.Box.Created.Unix() {
			t.Error("it is another box")
		}
	})
}

// A launcher that is killed at any moment leaves a box that can be found and
// ended, or nothing; never a process that nobody knows.
func TestLauncherKilledAnywhere(t *testing.T) {
	s := settings(t)
	began := time.Now()
	whole := newOrder(t, "whole", nil)
	cmd, out := launcher(t, s, whole)
	if line, err := out.ReadString('\n'); err != nil || line != "created\n" {
		t.Fatalf("the launcher said %q, %v", line, err)
	}
	duration := time.Since(began)
	_, _ = cmd.Process.Kill(), cmd.Wait()
	p := newProvider(t, s)
	if err := p.Destroy(testContext(t), string(whole.Box.ID), whole.Nonce); err != nil {
		t.Fatal(err)
	}
	const steps = 12
	for i := range steps {
		o := newOrder(t, "cut", nil)
		cmd, _ := launcher(t, s, o)
		time.Sleep(duration * time.Duration(i) / steps) // the moment is the test's subject
		_, _ = cmd.Process.Kill(), cmd.Wait()
		id := string(o.Box.ID)
		_, err := p.Get(testContext(t), id)
		if err != nil && !errors.Is(err, fault.NotFound) {
			t.Errorf("killed after %d of %d: Get: %v", i, steps, err)
		}
		if err := p.Destroy(testContext(t), id, o.Nonce); err != nil {
			t.Errorf("killed after %d of %d: Destroy: %v", i, steps, err)
		}
		nothingLeft(t, p, id, id)
	}
}

// Before "go", a box whose launcher dies ends by itself and removes its folder.
func TestUnreleasedBoxEnds(t *testing.T) {
	both(t, func(t *testing.T, options provider.Options) {
		p := newProvider(t, settings(t))
		o := newOrder(t, "web", options)
		note, word := "", wordIsolate
		if options[optIsolation] == isolationProcess {
			note, word = "process", wordServe
		}
		if err := os.MkdirAll(p.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		r, err := p.newRecord(o.Request, networkOwn, note)
		if err != nil {
			t.Fatal(err)
		}
		id := string(o.Box.ID)
		if err := p.fill(id, o.HostPrivateKey, r); err != nil {
			t.Fatal(err)
		}
		c, err := p.start(word, r.Life, p.folder(id), os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the box's lock", func() bool { return p.alive(id) })
		c.close()
		_ = c.cmd.Wait()
		nothingLeft(t, p, id, id)
	})
}
