package workspace

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	"crabbox/internal/session"
)

// names are what the list on the box names: all that came from here, sorted.
// The list is a piece of shell, for the probe to run; see probeScript.
type names struct{ files, folders []string }

// chunk is how many names one shell call gets.
const chunk = 64

// digest tells one set of names from another.
func (n names) digest() string {
	sum := sha256.Sum256([]byte(n.body()))
	return hex.EncodeToString(sum[:16])
}

func (n names) body() string {
	var b strings.Builder
	call(&b, "d", filter(n.folders, printable))
	call(&b, "f", filter(n.files, printable))
	spell(&b, "y", n.folders)
	spell(&b, "w", n.files)
	return b.String()
}

// write is a script that replaces the list in one step.
func (n names) write(at place) string {
	end := rand.Text()
	return "mkdir -p " + at.tree + " || exit 1\n" +
		"new=" + at.list + ".$$\n" +
		"cat >$new <<'" + end + "' && mv -f $new " + at.list + " || { rm -f $new; exit 1; }\n" +
		"# What crabbox put into " + path.Base(at.tree) + ". Without this list it sends everything again.\n" +
		n.body() + "v " + n.digest() + "\n" + end + "\n"
}

// call appends calls of a shell function with names as its arguments.
func call(b *strings.Builder, function string, names []string) {
	for len(names) > 0 {
		n := min(chunk, len(names))
		b.WriteString(function)
		for _, name := range names[:n] {
			b.WriteByte(' ')
			b.WriteString(session.Quote("./" + name))
		}
		b.WriteByte('\n')
		names = names[n:]
	}
}

// spell appends a call for each name that is not printable.
func spell(b *strings.Builder, function string, names []string) {
	for _, name := range names {
		if !printable(name) {
			fmt.Fprintf(b, "%s %x %s\n", function, name, session.Quote("./"+name))
		}
	}
}

func filter(names []string, keep func(string) bool) []string {
	var kept []string
	for _, name := range names {
		if keep(name) {
			kept = append(kept, name)
		}
	}
	return kept
}

// printable says whether a name comes back from a box's tools as it is: those
// that hash and list write control characters and backslashes their own way.
func printable(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' })
}
