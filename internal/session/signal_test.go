package session

import (
	"bytes"
	"strings"
	"testing"
)

// The announcement is taken out wherever the pieces of the stream are cut, and
// what a login shell says before it stays.
func TestAnnouncement(t *testing.T) {
	for _, test := range []struct {
		text, want string
		pid        int
	}{
		{"MARK 42\nrest", "rest", 42},
		{"hello\nno newline yetMARK 42\nrest\n", "hello\nno newline yetrest\n", 42},
		{"MARK 42\nMARK 43\n", "MARK 43\n", 42},
		{"MARK x\nrest", "rest", 0},
		{"MARK 1\nrest", "rest", 0},
		{"MARK -7\nrest", "rest", 0},
		{"not a shell at all", "not a shell at all", 0},
		{"", "", 0},
	} {
		for cut := range len(test.text) + 1 {
			k := &call{mark: "MARK", named: make(chan struct{})}
			var out bytes.Buffer
			fail := func(err error) { t.Errorf("%q: %v", test.text, err) }
			drain(k.listen(&out), &pieces{parts: []string{test.text[:cut], test.text[cut:]}}, fail)
			if out.String() != test.want || k.pid != test.pid {
				t.Errorf("%q cut at %d: %q, pid %d; want %q, pid %d", test.text, cut, out.String(), k.pid, test.want, test.pid)
			}
			select {
			case <-k.named:
				if test.pid == 0 {
					t.Errorf("%q: a process id was announced", test.text)
				}
			default:
				if test.pid != 0 {
					t.Errorf("%q: no process id was announced", test.text)
				}
			}
		}
	}
}

// pieces is a reader that gives its parts one by one.
type pieces struct{ parts []string }

func (p *pieces) Read(b []byte) (int, error) {
	for len(p.parts) > 0 && p.parts[0] == "" {
		p.parts = p.parts[1:]
	}
	if len(p.parts) == 0 {
		return strings.NewReader("").Read(b)
	}
	n := copy(b, p.parts[0])
	p.parts[0] = p.parts[0][n:]
	return n, nil
}
