//go:build unix

package agent_test

import (
	"context"
	"crabbox/internal/agent/api"
	"crabbox/internal/fault"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// holder is a command that holds a crew, in a process of its own.
func (w *world) holder(crew string) *exec.Cmd {
	w.t.Helper()
	self := w.options().Executable
	cmd := exec.Command(self, "agent", "hold", crew, self)
	cmd.Env = append(os.Environ(), "CRABBOX_HOME="+w.home)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

func TestDeadHolderTakesOnlyItsOwnCrew(t *testing.T) {
	w := newWorld(t)
	mine, kept, both := w.crew+"a", w.crew+"b", w.crew+"c"
	for _, name := range []string{mine, kept, both} {
		w.box(name, "web", "8080").says(8080, name)
	}
	c := w.connect()
	if _, err := c.ConnectCrew(ctxOf(t), kept, api.ConnectRequest{}); err != nil {
		t.Fatal(err)
	}
	dying := []*exec.Cmd{w.holder(mine), w.holder(both), w.holder(kept)}
	w.holder(both)
	for name, holders := range map[string]int{mine: 1, both: 2, kept: 1} {
		eventually(t, "holders of "+name, func() error {
			crew, err := c.Crew(ctxOf(t), name)
			if err == nil && crew.Holders != holders {
				err = fmt.Errorf("%d holders", crew.Holders)
			}
			return err
		})
	}
	local := map[string]string{}
	for _, name := range []string{mine, kept, both} {
		local[name] = w.usable(c, name).Members[0].Forwards[0].Local
	}

	for _, cmd := range dying {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
	}
	within(t, 2*time.Second, "the end of the dead holder's crew", func() error {
		if _, err := c.Crew(ctxOf(t), mine); fault.KindOf(err) != fault.NotFound {
			return fmt.Errorf("still connected, %v", err)
		}
		return nil
	})
	if _, err := read(local[mine]); err == nil {
		t.Error("its port still answers")
	}
	if _, err := os.Stat(w.store.Path("crew", mine)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its files are left: %v", err)
	}
	for _, name := range []string{kept, both} {
		mustSay(t, local[name], name)
	}
	eventually(t, "the detached crew without holder", func() error {
		crew, err := c.Crew(ctxOf(t), kept)
		if err == nil && (crew.Holders != 0 || !crew.Detached) {
			err = fmt.Errorf("%+v", crew)
		}
		return err
	})
}

// A crew that is disconnected tells its holder so, and does not come back by it.
func TestDisconnectEndsHolders(t *testing.T) {
	w := newWorld(t)
	w.box(w.crew, "web", "8080")
	c := w.connect()
	ctx, cancel := context.WithCancel(ctxOf(t))
	defer cancel()
	held := make(chan error, 1)
	first := make(chan api.Crew, 1)
	go func() {
		held <- c.Watch(ctx, w.crew, api.WatchRequest{Hold: true}, func(crew api.Crew) error {
			select {
			case first <- crew:
			default:
			}
			return nil
		})
	}()
	if crew := <-first; crew.Detached || crew.Holders != 1 || len(crew.Members) != 1 {
		t.Errorf("held crew: %+v", crew)
	}
	if _, err := c.Disconnect(ctxOf(t), w.crew); err != nil {
		t.Fatal(err)
	}
	if err := <-held; fault.KindOf(err) != fault.Conflict || fault.RemedyOf(err) == "" {
		t.Errorf("holder: %v (%s)", err, fault.KindOf(err))
	}
	if crews, err := c.Crews(ctxOf(t)); err != nil || len(crews) != 0 {
		t.Errorf("%+v %v", crews, err)
	}
}
