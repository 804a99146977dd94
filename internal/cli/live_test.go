package cli

import (
	"strings"
	"testing"

	"crabbox/internal/agent/api"
	"crabbox/internal/box"
	"crabbox/internal/mesh"
)

func member(slug string, state mesh.LinkState, ports ...api.Forward) api.Member {
	return api.Member{Slug: slug, State: state, Names: []string{slug + ".demo.cbx", slug + ".cbx"}, Address: "127.0.64.9", Forwards: ports}
}

func forward(number uint16, state mesh.ForwardState) api.Forward {
	return api.Forward{Port: box.Port{Number: number, Proto: box.TCP}, Local: "127.0.64.9:8080", State: state}
}

func TestChangesAreToldOnce(t *testing.T) {
	v := newLiveView(nil)
	crew := func(members ...api.Member) api.Crew { return api.Crew{Name: "demo", Members: members} }
	for _, step := range []struct {
		now  api.Crew
		want string
	}{
		{crew(member("web", mesh.Connecting, forward(8080, mesh.Down))), "web: connecting|web port 8080: the link is down"},
		{crew(member("web", mesh.Up, forward(8080, mesh.Usable))), "web: up|web port 8080: usable at 127.0.64.9:8080"},
		{crew(member("web", mesh.Up, forward(8080, mesh.Usable))), ""},
		{crew(member("api", mesh.Up), member("web", mesh.Up, forward(8080, mesh.NoTarget))), "api: up|web port 8080: nothing listens there on the box"},
		{crew(member("api", mesh.Up)), "web port 8080: no more|web: no more"},
	} {
		if got := strings.Join(v.changes(step.now), "|"); got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
}

func TestSettled(t *testing.T) {
	refused := member("x", mesh.Refused)
	for _, test := range []struct {
		name           string
		members        []api.Member
		settled, ready bool // without and with --wait
		troubles       int
	}{
		{"all usable", []api.Member{member("web", mesh.Up, forward(1, mesh.Usable))}, true, true, 0},
		{"no members", nil, true, true, 0},
		{"still connecting", []api.Member{member("web", mesh.Connecting)}, false, false, 1},
		{"trying again", []api.Member{member("web", mesh.Waiting)}, false, false, 1},
		{"port not tried yet", []api.Member{member("web", mesh.Up, forward(1, mesh.Unproven))}, false, false, 1},
		{"nothing listens", []api.Member{member("web", mesh.Up, forward(1, mesh.NoTarget))}, true, false, 1},
		{"forbidden", []api.Member{member("web", mesh.Up, forward(1, mesh.Prohibited))}, true, true, 1},
		{"no address", []api.Member{member("web", mesh.Up, forward(1, mesh.Unbound))}, true, true, 1},
		{"login refused", []api.Member{refused}, true, true, 1},
		{"gone", []api.Member{member("web", mesh.Gone, forward(1, mesh.Down))}, true, true, 1},
		{"one bad, one on its way", []api.Member{refused, member("web", mesh.Connecting)}, false, false, 2},
	} {
		c := api.Crew{Name: "demo", Members: test.members}
		if got := settled(c, false); got != test.settled {
			t.Errorf("%s: settled %v, want %v", test.name, got, test.settled)
		}
		if got := settled(c, true); got != test.ready {
			t.Errorf("%s: settled with wait %v, want %v", test.name, got, test.ready)
		}
		if got := len(troubles(c)); got != test.troubles {
			t.Errorf("%s: %d troubles, want %d", test.name, got, test.troubles)
		}
	}
}
