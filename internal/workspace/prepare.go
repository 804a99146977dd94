package workspace

import (
	"context"
	"fmt"
	"strings"
)

// prepareScript makes room in the tree, which is the working folder. r removes
// files that came from here, e folders that came from here and are empty now,
// b what stands where a folder has to be, t a folder that stands where a file
// or a link has to be.
const prepareScript = `
r() {
	for p do
		if [ -L "$p" ] || [ ! -d "$p" ]; then rm -f "$p" || exit 1; fi
	done
}
e() {
	for p do
		if [ ! -L "$p" ]; then rmdir "$p" 2>/dev/null; fi
	done
}
b() {
	for p do
		if [ -L "$p" ] || { [ -e "$p" ] && [ ! -d "$p" ]; }; then rm -f "$p" || exit 1; fi
	done
}
t() {
	for p do
		if [ ! -L "$p" ] && [ -d "$p" ]; then rm -rf "$p" || exit 1; fi
	done
}
`

// prepare writes the list, removes what has to go, and makes room for what is
// to come. It may be run again at any time.
func (s *syncing) prepare(ctx context.Context, todo work) error {
	var b strings.Builder
	if todo.stale {
		b.WriteString(todo.during.write(s.place))
	}
	fmt.Fprintf(&b, "mkdir -p %s && cd %[1]s || exit 1\n", s.place.tree)
	if s.box.exists { // else nothing is there to be in the way
		if len(todo.remove) > 0 {
			s.progress("removing " + count(len(todo.remove), "file"))
		}
		b.WriteString(prepareScript)
		call(&b, "r", todo.remove)
		call(&b, "e", todo.leave)
		call(&b, "b", todo.folders)
		sent := make([]string, len(todo.send))
		for i, f := range todo.send {
			sent[i] = f.path
		}
		call(&b, "t", sent)
	}
	b.WriteString("exit 0\n")
	return shell(ctx, s.client, b.String(), nil)
}
