package agent

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"crabbox/internal/box"
)

func TestNames(t *testing.T) {
	for _, row := range []struct {
		story string
		boxes string // slug.crew or slug.crew:role
		want  string // the names of each, full name first
	}{
		{"one box", "web.demo", "web.demo.cbx web.cbx"},
		{"a role is a name too", "otter.demo:db", "otter.demo.cbx otter.cbx db.cbx"},
		{"role and slug the same", "db.demo:db", "db.demo.cbx db.cbx"},
		{"same slug in two crews", "web.a web.b", "web.a.cbx | web.b.cbx"},
		{"a role that two have", "x.a:web y.a:web", "x.a.cbx x.cbx | y.a.cbx y.cbx"},
		{"a role that two crews have", "x.a:web y.b:web", "x.a.cbx x.cbx | y.b.cbx y.cbx"},
		{"one's slug is another's role", "web.a x.a:web", "web.a.cbx | x.a.cbx x.cbx"},
		{"and the other way round", "x.a:web web.b:x", "x.a.cbx | web.b.cbx"},
		{"the others stay", "web.a web.b api.b:front", "web.a.cbx | web.b.cbx | api.b.cbx api.cbx front.cbx"},
		{"a crew called as a slug", "web.api api.web", "web.api.cbx web.cbx | api.web.cbx api.cbx"},
		{"nobody", "", ""},
	} {
		var boxes []box.Box
		for word := range strings.FieldsSeq(row.boxes) {
			word, role, _ := strings.Cut(word, ":")
			slug, crew, _ := strings.Cut(word, ".")
			boxes = append(boxes, box.Box{ID: box.NewID(), Slug: slug, Crew: crew, Role: role})
		}
		all := names(boxes)
		var got []string
		seen := map[string]int{}
		for _, b := range boxes {
			got = append(got, strings.Join(all[b.ID], " "))
			for _, name := range all[b.ID] {
				seen[name]++
			}
		}
		if text := strings.Join(got, " | "); text != row.want {
			t.Errorf("%s: %s\n got %s\nwant %s", row.story, row.boxes, text, row.want)
		}
		if n := slices.Max(append(slices.Collect(maps.Values(seen)), 0)); n > 1 {
			t.Errorf("%s: a name means %d boxes", row.story, n)
		}
	}
}
