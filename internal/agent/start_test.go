//go:build unix

package agent_test

import (
	"crabbox/internal/agent"
	"crabbox/internal/agent/api"
	"crabbox/internal/agent/client"
	"crabbox/internal/fault"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestManyClientsStartOneAgent(t *testing.T) {
	w := newWorld(t)
	const n = 6
	pids := make([]int, n)
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			c, err := client.Connect(ctxOf(t), w.options())
			if err == nil {
				var v api.Version
				v, err = c.Version(ctxOf(t))
				pids[i] = v.PID
			}
			errs[i] = err
		})
	}
	all.Wait()
	for i := range n {
		if errs[i] != nil || pids[i] != pids[0] {
			t.Errorf("client %d: agent %d, %v; client 0 has agent %d", i, pids[i], errs[i], pids[0])
		}
	}
	if text, err := os.ReadFile(w.store.Path("agent.lock")); err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(pids[0]) {
		t.Errorf("the lock file says %q, %v; the agent is %d", text, err, pids[0])
	}
	info, err := os.Lstat(w.store.Path("agent.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", info, err)
	}

	err = agent.Run(ctxOf(t), agent.Options{Keeper: newKeeper(w.store), Version: "v1"})
	if fault.KindOf(err) != fault.Conflict || fault.RemedyOf(err) == "" {
		t.Errorf("a second agent: %v (%s)", err, fault.KindOf(err))
	}
}

// What a machine that lost power leaves: a socket nobody listens on, a lock file
// with some other process's id, files of a crew that nobody wants.
func TestStaleFilesStopNobody(t *testing.T) {
	w := newWorld(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: w.store.Path("agent.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, name := range []string{"agent.lock", "crew/lost/hosts", "crew/lost/env", "crew/lost/mine"} {
		if err := w.store.WriteFile([]byte("1\n"), strings.Split(name, "/")...); err != nil {
			t.Fatal(err)
		}
	}
	c := w.connect()
	if err := c.Refresh(ctxOf(t)); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(w.store.Path("crew", "lost", "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "mine" {
		t.Errorf("left of a crew that is not wanted: %v %v; want only what is not ours", left, err)
	}
}

func TestSomethingElseInPlaceOfTheSocket(t *testing.T) {
	for name, plant := range map[string]func(string) error{
		"link": func(path string) error {
			other := path + ".other"
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: other, Net: "unix"})
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			return os.Symlink(other, path)
		},
		"file":   func(path string) error { return os.WriteFile(path, []byte("hello"), 0o600) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			path := w.store.Path("agent.sock")
			if err := plant(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			for what, err := range map[string]error{
				"connect": second(client.Connect(ctxOf(t), w.options())),
				"find":    second(client.Find(ctxOf(t), w.options())),
				"run":     agent.Run(ctxOf(t), agent.Options{Keeper: newKeeper(w.store)}),
			} {
				if fault.KindOf(err) != fault.Conflict || fault.RemedyOf(err) == "" {
					t.Errorf("%s: %v (%s)", what, err, fault.KindOf(err))
				}
			}
			after, err := os.Lstat(path)
			if err != nil || !os.SameFile(before, after) {
				t.Errorf("it was replaced: %v", err)
			}
		})
	}
}

func TestLinkInPlaceOfTheLock(t *testing.T) {
	w := newWorld(t)
	victim := w.store.Path("victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, w.store.Path("agent.lock")); err != nil {
		t.Fatal(err)
	}
	if err := agent.Run(ctxOf(t), agent.Options{Keeper: newKeeper(w.store)}); fault.KindOf(err) != fault.Conflict {
		t.Errorf("run: %v", err)
	}
	if data, err := os.ReadFile(victim); err != nil || string(data) != "precious" {
		t.Errorf("written through the link: %q %v", data, err)
	}
}

func TestAgentThatDiesAtStart(t *testing.T) {
	w := newWorld(t)
	t.Setenv(envDie, "no luck \x1b[31mtoday")
	begun := time.Now()
	_, err := client.Connect(ctxOf(t), w.options())
	if err == nil || !strings.Contains(err.Error(), "no luck [31mtoday") || fault.RemedyOf(err) == "" {
		t.Errorf("its last words are not told, or told raw: %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("told only after %v", took)
	}
	o := w.options()
	o.Executable = w.store.Path("nothing")
	if _, err := client.Connect(ctxOf(t), o); fault.KindOf(err) != fault.Failed || fault.RemedyOf(err) == "" {
		t.Errorf("no program: %v", err)
	}
}
