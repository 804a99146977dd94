package session

import (
	"path"
	"strconv"
	"strings"
)

// Quote makes one POSIX shell line out of words, so that the remote shell sees
// exactly these words. Every word is quoted, since a bare one may be a keyword,
// an alias or an assignment. A word cannot have a NUL byte: no shell can pass it.
func Quote(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// wrap puts before line what announcing, Dir and the file of variables need:
// one step per line of shell, so that a mistake in line's own syntax comes after
// them. "" means a login shell that needs no line.
//
// The announcement is the parent's process id, told by a child: a line that
// shells of every family understand, fish and csh too.
func wrap(line, mark, dir, file string) string {
	var b strings.Builder
	if mark != "" {
		b.WriteString("sh -c 'echo " + mark + " $PPID >&2'\n")
	}
	refuse := " || exit " + strconv.Itoa(NoFolder) + "\n"
	if file != "" {
		b.WriteString(". " + Quote(file) + refuse + "rm -f " + Quote(file) + "\n")
	}
	if dir != "" {
		if !path.IsAbs(dir) {
			dir = "./" + dir // neither an option nor a matter for CDPATH
		}
		b.WriteString("cd " + Quote(dir) + refuse)
	}
	if line == "" && b.Len() > 0 {
		line = `exec "${SHELL:-/bin/sh}" -l`
	}
	b.WriteString(line)
	return b.String()
}
