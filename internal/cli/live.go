package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"crabbox/internal/agent/api"
)

// liveView shows a crew as it changes: a table that is redrawn in place on a
// terminal, one line per change in a pipe, one JSON document per change with
// --json.
type liveView struct {
	out   *printer
	drawn []string // the table on the screen
	talks int      // out.talks when it was drawn; text has moved it up since when they differ
	known map[string]string
}

func newLiveView(out *printer) *liveView { return &liveView{out: out} }

func (v *liveView) show(c api.Crew) error {
	changes := v.changes(c)
	switch {
	case v.out.json:
		if len(changes) > 0 {
			return v.out.event(c)
		}
	case v.out.outTTY:
		return v.redraw(c)
	default:
		for _, change := range changes {
			if err := v.out.line("%s %s", time.Now().Format(time.TimeOnly), change); err != nil {
				return err
			}
		}
	}
	return nil
}

// changes tells in lines what differs from the last time: links, ports, and
// members that came or went.
func (v *liveView) changes(c api.Crew) []string {
	now := map[string]string{}
	var order []string
	note := func(who, what string) {
		now[who] = what
		order = append(order, who)
	}
	for _, p := range c.Problems {
		note(p, "problem")
	}
	for _, m := range c.Members {
		state := string(m.State)
		if m.Reason != "" && m.State != api.LinkUp {
			state += ": " + m.Reason
		}
		note(m.Slug, state)
		for _, f := range m.Forwards {
			note(m.Slug+" port "+f.Port.String(), forwardText(f))
		}
	}
	var lines []string
	for _, who := range order {
		if before, ok := v.known[who]; !ok || before != now[who] {
			lines = append(lines, who+": "+now[who])
		}
	}
	var gone []string
	for who := range v.known {
		if _, ok := now[who]; !ok {
			gone = append(gone, who+": no more")
		}
	}
	slices.Sort(gone)
	v.known = now
	return append(lines, gone...)
}

// redraw puts the table where the last one is. Lines are kept from wrapping
// and the table from being taller than the screen, since both would break the
// way back to its first line.
func (v *liveView) redraw(c api.Crew) error {
	lines := portTable(c).lines(v.out.color)
	for _, p := range c.Problems {
		lines = append(lines, clean(p))
	}
	if most := v.height() - 2; len(lines) > most && most > 0 {
		lines = append(lines[:most-1], fmt.Sprintf("... and %d more", len(lines)-most+1))
	}
	talks := v.out.talked()
	if slices.Equal(lines, v.drawn) && talks == v.talks {
		return nil
	}
	var b strings.Builder
	if len(v.drawn) > 0 && talks == v.talks {
		fmt.Fprintf(&b, "\x1b[%dA\r\x1b[J", len(v.drawn))
	}
	b.WriteString("\x1b[?7l" + strings.Join(lines, "\n") + "\x1b[?7h\n")
	v.drawn, v.talks = lines, talks
	return v.out.raw(b.String())
}

func (v *liveView) height() int {
	if f, ok := v.out.out.(*os.File); ok {
		if _, h, err := term.GetSize(int(f.Fd())); err == nil {
			return h
		}
	}
	return 24
}
