package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// tone says how a cell is coloured where colours are wanted.
type tone string

const (
	plain tone = ""
	good  tone = "32"
	bad   tone = "31"
	doubt tone = "33"
	faint tone = "2"
)

// cell is one field of a table; its text may be foreign.
type cell struct {
	text string
	tone tone
}

// table is aligned columns under a head.
type table struct {
	head []string
	rows [][]cell
}

// row adds a row of plain texts and cells; a plain text that is empty becomes a dash.
func (t *table) row(fields ...any) {
	row := make([]cell, len(fields))
	for i, f := range fields {
		switch v := f.(type) {
		case cell:
			row[i] = cell{clean(v.text), v.tone}
		default:
			row[i] = cell{text: cmp.Or(clean(fmt.Sprint(v)), "-")}
		}
	}
	t.rows = append(t.rows, row)
}

// lines renders the table; colours only with color set.
func (t *table) lines(color bool) []string {
	widths := make([]int, len(t.head))
	head := make([]cell, len(t.head))
	for i, h := range t.head {
		head[i] = cell{h, faint}
	}
	all := append([][]cell{head}, t.rows...)
	for _, row := range all {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var lines []string
	for _, row := range all {
		var b strings.Builder
		for i, c := range row {
			if color && c.tone != plain {
				b.WriteString("\x1b[" + string(c.tone) + "m" + c.text + "\x1b[0m")
			} else {
				b.WriteString(c.text)
			}
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		lines = append(lines, b.String())
	}
	return lines
}

func (p *printer) table(t *table) {
	p.raw(strings.Join(t.lines(p.color), "\n") + "\n")
}

// facts prints aligned names and values, leaving empty values out.
func (p *printer) facts(pairs ...[2]string) {
	var b strings.Builder
	for _, pair := range pairs {
		if pair[1] != "" {
			fmt.Fprintf(&b, "%-10s %s\n", pair[0], clean(pair[1]))
		}
	}
	p.raw(b.String())
}

// howMany tells a number of things.
func howMany(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// short tells a duration in its largest unit.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 48*time.Hour:
		d = d.Round(time.Minute)
		hours, minutes := int(d.Hours()), int(d.Minutes())%60
		switch {
		case hours == 0:
			return fmt.Sprintf("%dm", minutes)
		case minutes == 0:
			return fmt.Sprintf("%dh", hours)
		}
		return fmt.Sprintf("%dh%02dm", hours, minutes)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

// size tells a number of bytes.
func size(n uint64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%dB", n)
	}
	value, unit := float64(n)/1000, 0
	for value >= 1000 && unit < len(units)-1 {
		value, unit = value/1000, unit+1
	}
	return fmt.Sprintf("%.1f%cB", value, units[unit])
}
