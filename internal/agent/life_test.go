//go:build unix

package agent_test

import (
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"crabbox/internal/agent/api"
	"crabbox/internal/agent/client"
	"crabbox/internal/fault"
)

// A killed agent's crews come back with the next command, where they were, also
// on ports of 127.0.0.1 that stand in for others.
func TestKilledAgentIsPutBack(t *testing.T) {
	w := newWorld(t)
	w.box(w.crew, "web", "8080", "8081").says(8080, "web").says(8081, "two")
	address, err := w.store.Address(ctxOf(t), w.crew, "web")
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", net.JoinHostPort(address.String(), "8081"))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	c := w.connect()
	if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{}); err != nil {
		t.Fatal(err)
	}
	before := w.usable(c, w.crew).Members[0]
	if f := before.Forwards[1]; !f.Fallback || !strings.HasPrefix(f.Local, "127.0.0.1:") || f.Reason == "" {
		t.Fatalf("a taken port: %+v", f)
	}
	hosts, env := w.file("hosts"), w.file("env")

	pid := w.pid(c)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.ended(pid)
	if _, err := os.Lstat(w.store.Path("agent.sock")); err != nil {
		t.Fatalf("no stale socket to test with: %v", err)
	}
	if _, err := client.Find(ctxOf(t), w.options()); fault.KindOf(err) != fault.NotFound || !errors.Is(err, client.ErrGone) {
		t.Errorf("find after kill: %v", err)
	}

	after := w.usable(c, w.crew).Members[0] // any call of a command's client
	if w.pid(c) == pid {
		t.Error("the same process answers")
	}
	if after.Address != before.Address {
		t.Errorf("address was %s, is %s", before.Address, after.Address)
	}
	for i, f := range after.Forwards {
		if f.Local != before.Forwards[i].Local {
			t.Errorf("port %s was at %s, is at %s", f.Port, before.Forwards[i].Local, f.Local)
		}
	}
	mustSay(t, after.Forwards[0].Local, "web")
	mustSay(t, after.Forwards[1].Local, "two")
	if w.file("hosts") != hosts || w.file("env") != env {
		t.Errorf("files differ:\n%s%s", w.file("hosts"), w.file("env"))
	}
}

// file is a file of the world's own crew.
func (w *world) file(name string) string {
	w.t.Helper()
	data, err := os.ReadFile(w.store.Path("crew", w.crew, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

func TestIdleAgentEnds(t *testing.T) {
	w := newWorld(t)
	t.Setenv(envIdle, "700ms")
	w.box(w.crew, "web", "8080").says(8080, "web")
	c := w.connect()
	pid := w.pid(c)
	if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{}); err != nil {
		t.Fatal(err)
	}
	// Nobody asks for anything now, but the crew is connected.
	found := client.Options{Home: w.home, Version: "v1", Warn: func(string) {}}
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err := syscall.Kill(pid, 0); err != nil {
			t.Fatal("ended with a crew connected")
		}
	}
	if _, err := c.Disconnect(ctxOf(t), w.crew); err != nil {
		t.Fatal(err)
	}
	w.ended(pid)
	if _, err := client.Find(ctxOf(t), found); fault.KindOf(err) != fault.NotFound {
		t.Errorf("find: %v", err)
	}
	if _, err := os.Lstat(w.store.Path("agent.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// Commands come just when idle agents end. None may see it.
func TestIdleEndRacesWithClients(t *testing.T) {
	w := newWorld(t)
	t.Setenv(envIdle, "1ms") // ends at every look, twice a second
	var all sync.WaitGroup
	var mu sync.Mutex
	pids := map[int]bool{}
	end := time.Now().Add(4 * time.Second)
	for range 3 {
		all.Go(func() {
			for time.Now().Before(end) {
				c, err := client.Connect(ctxOf(t), w.options())
				if err != nil {
					t.Errorf("connect: %v", err)
					return
				}
				if _, err := c.Crews(ctxOf(t)); err != nil {
					t.Errorf("crews: %v", err)
					return
				}
				v, err := c.Version(ctxOf(t))
				if err != nil {
					t.Errorf("version: %v", err)
					return
				}
				mu.Lock()
				pids[v.PID] = true
				mu.Unlock()
				time.Sleep(25 * time.Millisecond) // let it be idle
			}
		})
	}
	all.Wait()
	if len(pids) < 2 {
		t.Errorf("%d agents: no end was met", len(pids))
	}
	for pid := range pids {
		w.ended(pid)
	}
}

func TestHomeThatGoesAway(t *testing.T) {
	w := newWorld(t)
	w.box(w.crew, "web", "8080").says(8080, "web")
	c := w.connect()
	if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{}); err != nil {
		t.Fatal(err)
	}
	w.usable(c, w.crew)
	pid := w.pid(c)
	if err := os.RemoveAll(w.home); err != nil {
		t.Fatal(err)
	}
	w.ended(pid)
	if _, err := os.Lstat(w.home); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the agent made the folder anew: %v", err)
	}
}

// A home that is replaced gets an agent of its own; the old one ends and leaves
// the new one's socket alone.
func TestHomeThatIsReplaced(t *testing.T) {
	w := newWorld(t)
	old := w.pid(w.connect())
	if err := os.Rename(w.home, w.home+".old"); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(w.home + ".old")
	if err := os.Mkdir(w.home, 0o700); err != nil {
		t.Fatal(err)
	}
	pid := w.pid(w.connect())
	if pid == old {
		t.Fatal("the agent of another folder answers")
	}
	w.ended(old)
	if c, err := client.Find(ctxOf(t), w.options()); err != nil || w.pid(c) != pid {
		t.Errorf("the new agent after the old one's end: %v", err)
	}
}

func TestVersionMismatchIsAWarning(t *testing.T) {
	w := newWorld(t)
	first := w.connect()
	pid := w.pid(first)
	o := w.options()
	o.Version = "v2"
	c, err := client.Connect(ctxOf(t), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.pid(c); got != pid {
		t.Errorf("agent %d was replaced by %d", pid, got)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.warns) != 1 || !strings.Contains(w.warns[0], "v1") || !strings.Contains(w.warns[0], "v2") {
		t.Errorf("warnings: %q; want one that names both", w.warns)
	}
}

func TestStopIsOrderly(t *testing.T) {
	w := newWorld(t)
	w.box(w.crew, "web", "8080").says(8080, "web")
	c := w.connect()
	if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{}); err != nil {
		t.Fatal(err)
	}
	local := w.usable(c, w.crew).Members[0].Forwards[0].Local
	pid := w.pid(c)
	watched := make(chan error, 1)
	seen := make(chan struct{}, 1)
	go func() {
		watched <- c.Watch(ctxOf(t), w.crew, api.WatchRequest{}, func(api.Crew) error {
			select {
			case seen <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	<-seen
	if err := c.Stop(ctxOf(t)); err != nil {
		t.Fatal(err)
	}
	if err := <-watched; fault.KindOf(err) != fault.NotFound || !errors.Is(err, client.ErrGone) {
		t.Errorf("the watcher: %v", err)
	}
	w.ended(pid)
	if _, err := os.Stat(w.store.Path("crew", w.crew)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("files are left: %v", err)
	}
	if _, err := read(local); err == nil {
		t.Error("the port is left")
	}
	if wanted, _, err := w.store.Wanted(); err != nil || len(wanted) != 1 {
		t.Errorf("wanted: %v %v; the next agent shall connect it", wanted, err)
	}
	finder, err := client.Find(ctxOf(t), w.options())
	if fault.KindOf(err) != fault.NotFound {
		t.Errorf("find after stop: %v %v", finder, err)
	}
}
