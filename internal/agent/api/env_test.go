package api_test

import (
	"os/exec"
	"strings"
	"testing"

	"crabbox/internal/agent/api"
	"crabbox/internal/box"
	"crabbox/internal/mesh"
)

func forward(port uint16, local string, fallback bool) api.Forward {
	return api.Forward{Port: box.Port{Number: port, Proto: box.TCP}, Local: local, Fallback: fallback}
}

func TestEnvAndHosts(t *testing.T) {
	c := api.Crew{Name: "demo", Members: []api.Member{
		{Slug: "own", Address: "127.0.64.7", Names: []string{"own.demo.cbx", "own.cbx", "front.cbx"}, Forwards: []api.Forward{
			forward(80, "127.0.64.7:80", false), forward(8080, "127.0.64.7:8080", false),
			{Port: box.Port{Number: 53, Proto: box.UDP}, State: api.Unsupported},
		}},
		{Slug: "mixed-up", Address: "127.0.64.8", Names: []string{"mixed-up.demo.cbx"}, Forwards: []api.Forward{
			forward(80, "127.0.0.1:40001", true), forward(8080, "127.0.64.8:8080", false),
		}},
		{Slug: "away", Address: "127.0.64.9", Names: []string{"away.demo.cbx", "away.cbx"}, Forwards: []api.Forward{
			forward(80, "127.0.0.1:40002", true), forward(443, "", false),
		}},
		{Slug: "bare", Address: "127.0.64.10", Names: []string{"bare.demo.cbx", "bare.cbx"}},
		{Slug: "lost", Names: []string{"lost.demo.cbx"}},
	}}
	if got, want := c.Env(), `export CRABBOX_CREW='demo'
export CRABBOX_CREW_OWN_HOST='127.0.64.7'
export CRABBOX_CREW_OWN_80='127.0.64.7:80'
export CRABBOX_CREW_OWN_8080='127.0.64.7:8080'
export CRABBOX_CREW_MIXED_UP_80='127.0.0.1:40001'
export CRABBOX_CREW_MIXED_UP_8080='127.0.64.8:8080'
export CRABBOX_CREW_AWAY_80='127.0.0.1:40002'
`; got != want {
		t.Errorf("env:\n%s\nwant:\n%s", got, want)
	}
	if got, want := c.Hosts(), `# crew demo
127.0.64.7  own.cbx front.cbx own.demo.cbx
# mixed-up.demo.cbx:80 does not work, since 127.0.64.8:80 could not be had; it is at 127.0.0.1:40001
127.0.64.8  mixed-up.demo.cbx
# away.cbx:80 does not work, since 127.0.64.9:80 could not be had; it is at 127.0.0.1:40002
127.0.0.1  away.cbx away.demo.cbx
127.0.64.10  bare.cbx bare.demo.cbx
`; got != want {
		t.Errorf("hosts:\n%s\nwant:\n%s", got, want)
	}
}

// Whatever a crew were called, a shell that evaluates its lines only sets
// variables.
func TestEnvIsInertInAShell(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"demo", "a'; echo bad; '", `$(echo bad)`, "`echo bad`", "a\necho bad", `\`, "''"} {
		cmd := exec.Command(sh, "-c", `eval "$1"; printf %s "$CRABBOX_CREW"`, "sh", api.Crew{Name: name}.Env())
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != name {
			t.Errorf("crew %q comes out as %q, %v", name, out, err)
		}
	}
}

func TestUsable(t *testing.T) {
	up := func(states ...api.ForwardState) api.Member {
		m := api.Member{State: mesh.Up}
		for _, s := range states {
			m.Forwards = append(m.Forwards, api.Forward{State: s})
		}
		return m
	}
	down := up(mesh.Usable)
	down.State = mesh.Waiting
	for _, row := range []struct {
		members []api.Member
		want    bool
	}{
		{[]api.Member{up(), up(mesh.Usable)}, true},
		{[]api.Member{up(mesh.Usable, mesh.NoTarget)}, false},
		{[]api.Member{up(api.Unsupported)}, false},
		{[]api.Member{up(mesh.Usable), down}, false},
	} {
		if got := (api.Crew{Members: row.members}).Usable(); got != row.want {
			var states []string
			for _, m := range row.members {
				states = append(states, string(m.State))
			}
			t.Errorf("%s: usable %t", strings.Join(states, ", "), got)
		}
	}
}
