//go:build unix

package agent_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"crabbox/internal/agent/api"
	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/mesh"
)

func TestConnectMakesPortsUsable(t *testing.T) {
	w := newWorld(t)
	w.box(w.crew, "web", "8080").says(8080, "I am web")
	w.box(w.crew, "api", "8080").says(8080, "I am api")
	c := w.connect()
	first, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if !first.Detached || first.Holders != 0 || len(first.Members) != 2 || len(first.Problems) != 0 {
		t.Fatalf("answer: %+v", first)
	}
	crew := w.usable(c, w.crew)
	for _, m := range crew.Members {
		f := m.Forwards[0]
		if f.Local != m.Address+":8080" || f.Fallback || !strings.HasPrefix(m.Address, "127.0.") {
			t.Errorf("%s is at %s, its address is %s", m.Slug, f.Local, m.Address)
		}
		if m.HostKey != "given" {
			t.Errorf("%s: host key %q", m.Slug, m.HostKey)
		}
		mustSay(t, f.Local, "I am "+m.Slug)
	}
	for _, name := range []string{"hosts", "env", "forwards.json", "ssh_config"} {
		info, err := os.Stat(w.store.Path("crew", w.crew, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}

	was, err := c.Disconnect(ctxOf(t), w.crew)
	if err != nil || len(was.Members) != 2 {
		t.Fatalf("disconnect: %+v %v", was, err)
	}
	if _, err := os.Stat(w.store.Path("crew", w.crew)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the crew's folder is left: %v", err)
	}
	if text, err := read(crew.Members[0].Forwards[0].Local); err == nil {
		t.Errorf("a disconnected port still says %q", text)
	}
	for _, err := range []error{
		second(c.Crew(ctxOf(t), w.crew)), second(c.Disconnect(ctxOf(t), w.crew)),
	} {
		if fault.KindOf(err) != fault.NotFound || fault.RemedyOf(err) == "" {
			t.Errorf("not connected: %v (%s)", err, fault.KindOf(err))
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestConnectRefusesBadCrews(t *testing.T) {
	w := newWorld(t)
	w.box(w.crew, "web", "8080")
	c := w.connect()
	for _, row := range []struct {
		crew, provider string
		kind           fault.Kind
	}{
		{"nobody", "", fault.NotFound},
		{"Upper", "", fault.Usage},
		{"../x", "", fault.Usage},
		{"a b", "", fault.Usage},
		{"🦀", "", fault.Usage},
		{strings.Repeat("x", 300), "", fault.Usage},
		{w.crew, "parc", fault.Usage},
	} {
		_, err := c.ConnectCrew(ctxOf(t), row.crew, api.ConnectRequest{Provider: row.provider})
		if fault.KindOf(err) != row.kind || fault.RemedyOf(err) == "" {
			t.Errorf("crew %.20q provider %q: %v (%s)", row.crew, row.provider, err, fault.KindOf(err))
		}
	}
	if crews, err := c.Crews(ctxOf(t)); err != nil || len(crews) != 0 {
		t.Errorf("connected all the same: %v %v", crews, err)
	}
	if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{Provider: "p"}); err != nil {
		t.Errorf("an alias of the provider: %v", err)
	}
}

func TestMembersComeAndGo(t *testing.T) {
	w := newWorld(t)
	w.box(w.crew, "web", "8080").says(8080, "web")
	c := w.connect()
	if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{}); err != nil {
		t.Fatal(err)
	}
	w.usable(c, w.crew)

	late := w.box(w.crew, "late", "8080").says(8080, "late")
	var local string
	within(t, 2*time.Second, "a new member", func() error {
		crew, err := c.Crew(ctxOf(t), w.crew)
		if err != nil {
			return err
		}
		m, err := member(crew, "late")
		if err == nil && m.State != mesh.Up {
			err = fmt.Errorf("%s: %s", m.State, m.Reason)
		}
		if err == nil {
			local = m.Forwards[0].Local
		}
		return err
	})
	mustSay(t, local, "late")

	late.release()
	within(t, 2*time.Second, "a released member gone", func() error {
		crew, err := c.Crew(ctxOf(t), w.crew)
		if err != nil {
			return err
		}
		if len(crew.Members) != 1 {
			return fmt.Errorf("%d members", len(crew.Members))
		}
		return nil
	})
	if _, err := read(local); err == nil {
		t.Error("the released member's port still answers")
	}
}

func TestDetachedCrewEndsWithItsLastLease(t *testing.T) {
	w := newWorld(t)
	only := w.box(w.crew, "web", "8080")
	c := w.connect()
	if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{}); err != nil {
		t.Fatal(err)
	}
	only.release()
	if err := c.Refresh(ctxOf(t)); err != nil {
		t.Fatal(err)
	}
	if crews, err := c.Crews(ctxOf(t)); err != nil || len(crews) != 0 {
		t.Errorf("%+v %v", crews, err)
	}
	if wanted, _, err := w.store.Wanted(); err != nil || len(wanted) != 0 {
		t.Errorf("still wanted: %+v %v", wanted, err)
	}
}

// What is wrong with one member or port is named and hides no other.
func TestEveryTroubleIsItsOwn(t *testing.T) {
	w := newWorld(t)
	w.box(w.crew, "fine", "8080", "53/udp", "9").says(8080, "fine")
	w.box(w.crew, "gone", "8080").vanish()
	creating := w.makeBox(w.crew, "young", "8080")
	creating.lease.Box.State, creating.lease.Box.ProviderID = box.Creating, ""
	if err := w.store.SaveLease(creating.lease); err != nil {
		t.Fatal(err)
	}
	old := w.makeBox(w.crew, "old", "8080")
	old.lease.Box.Expires = time.Now().Add(-time.Minute)
	old.save()
	stranger := w.makeBox(w.crew, "stranger", "8080")
	stranger.lease.Box.Endpoint.HostKey.Keys = []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJbWvUmWLNVP8cQGRvGTUdDRgYZVCQEVGHRGpzsgl4k9"}
	stranger.save()

	c := w.connect()
	if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		slug   string
		state  mesh.LinkState
		remedy bool
	}{
		{"fine", mesh.Up, false}, {"gone", mesh.Gone, true}, {"young", mesh.Connecting, false},
		{"old", mesh.Gone, true}, {"stranger", mesh.Refused, true},
	} {
		eventually(t, row.slug, func() error {
			crew, err := c.Crew(ctxOf(t), w.crew)
			if err != nil {
				return err
			}
			m, err := member(crew, row.slug)
			if err != nil {
				return err
			}
			if m.State != row.state || (m.Reason == "") != (row.state == mesh.Up) || (m.Remedy != "") != row.remedy {
				return fmt.Errorf("%s, %q, %q", m.State, m.Reason, m.Remedy)
			}
			return nil
		})
	}
	eventually(t, "ports of fine", func() error {
		crew, err := c.Crew(ctxOf(t), w.crew)
		if err != nil {
			return err
		}
		m, err := member(crew, "fine")
		if err != nil {
			return err
		}
		var states []string
		for _, f := range m.Forwards {
			states = append(states, f.Port.String()+" "+string(f.State))
		}
		if got, want := strings.Join(states, ", "), "9 refused, 53/udp unsupported, 8080 usable"; got != want {
			return errors.New(got)
		}
		if crew.Usable() {
			t.Error("a crew with troubles calls itself usable")
		}
		return nil
	})
}

func TestProviderThatFailsOrHangs(t *testing.T) {
	w := newWorld(t)
	p := w.box(w.crew, "web", "8080").says(8080, "web")
	p.trouble("out of order")
	c := w.connect()
	if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{}); err != nil {
		t.Fatal(err)
	}
	w.usable(c, w.crew) // at the endpoint known so far

	p.trouble("slow")
	if err := c.Cut(ctxOf(t), w.crew, "web"); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	for range 20 {
		if _, err := c.Crew(ctxOf(t), w.crew); err != nil {
			t.Fatal(err)
		}
		if err := c.Refresh(ctxOf(t)); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("a provider that hangs stalls requests: %v", took)
	}
	p.trouble("")
	w.usable(c, w.crew)
}

func TestCutHeals(t *testing.T) {
	w := newWorld(t)
	w.box(w.crew, "web", "8080").says(8080, "web")
	c := w.connect()
	if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{}); err != nil {
		t.Fatal(err)
	}
	local := w.usable(c, w.crew).Members[0].Forwards[0].Local
	if err := c.Cut(ctxOf(t), w.crew, "web"); err != nil {
		t.Fatal(err)
	}
	mustSay(t, local, "web")
	if heals := w.usable(c, w.crew).Members[0].Heals; heals != 1 {
		t.Errorf("%d heals", heals)
	}
	if err := c.Cut(ctxOf(t), w.crew, "nobody"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("cut of nobody: %v", err)
	}
	if err := c.Cut(ctxOf(t), "nocrew", "web"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("cut in no crew: %v", err)
	}
}

// A box that comes back elsewhere is found there.
func TestNewEndpoint(t *testing.T) {
	w := newWorld(t)
	p := w.box(w.crew, "web", "8080").says(8080, "web")
	user := publicKey(t, p)
	c := w.connect()
	if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{}); err != nil {
		t.Fatal(err)
	}
	local := w.usable(c, w.crew).Members[0].Forwards[0].Local
	p.stop()
	p.serve(user)
	data := p.lease
	if err := writePark(w, data.Box); err != nil { // the provider knows, our record does not
		t.Fatal(err)
	}
	mustSay(t, local, "web")
	if m := w.usable(c, w.crew).Members[0]; m.Heals != 1 {
		t.Errorf("%d heals: the link was dropped for news of its own", m.Heals)
	}
}
