package workspace

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/fault"
	"crabbox/internal/session"
)

// copied is the tree on the box as the box just found it: of all that its list
// names, what is there. Nothing of it is trusted beyond the box itself.
type copied struct {
	exists  bool               // the tree's folder is there
	tar     bool               // the box has tar
	list    string             // digest of the names on the list; "" when it is not whole
	folders map[string]bool    // real folders, no links
	files   map[string]finding // files and links
}

// finding is one file on the box. Without a sum and a link it is there, and
// nothing is proven.
type finding struct {
	sum    [sha256.Size]byte
	hashed bool
	runs   bool
	link   string
}

// probeScript looks at the tree whose folder and list are $tree and $list. The
// list is a piece of shell: calls of d (folders) and f (files and links), y and
// w for one folder or file whose name cannot be printed, after its name in hex,
// each printing what is there, and at its very end v with its digest. Without a tool for SHA-256 nothing is proven, so that
// everything is sent.
const probeScript = `
LC_ALL=C; export LC_ALL
if command -v tar >/dev/null 2>&1; then echo tar; fi
if command -v sha256sum >/dev/null 2>&1; then sum() { sha256sum "$@"; }
elif command -v shasum >/dev/null 2>&1; then sum() { shasum -a 256 "$@"; }
elif command -v sha256 >/dev/null 2>&1; then sum() { sha256 -r "$@"; }
else sum() { return 1; }
fi
v() { printf 'v %s\n' "$1"; }
d() {
	for p do
		if [ -d "$p" ] && [ ! -L "$p" ]; then printf 'd %s\n' "$p"; fi
	done
}
f() {
	for p do
		shift
		if [ -L "$p" ]; then printf 'l %s\n%s\n' "$p" "$(readlink "$p" 2>/dev/null)"
		elif [ -f "$p" ]; then
			set -- "$@" "$p"
			if [ -x "$p" ]; then printf 'x %s\n' "$p"; fi
		elif [ -e "$p" ] && [ ! -d "$p" ]; then printf 'o %s\n' "$p"
		fi
	done
	if [ $# -gt 0 ] && ! sum "$@" 2>/dev/null; then printf 'o %s\n' "$@"; fi
}
y() {
	if [ -d "$2" ] && [ ! -L "$2" ]; then printf 'y %s\n' "$1"; fi
}
w() {
	if [ -L "$2" ] || { [ -e "$2" ] && [ ! -d "$2" ]; }; then printf 'w %s\n' "$1"; fi
}
list=$PWD/$list
if cd "$tree" 2>/dev/null; then
	echo tree
	if [ -f "$list" ]; then ( . "$list" ) 2>/dev/null; fi
fi
exit 0
`

// probe asks the box what it has. Of a broken list it gets what comes before the
// break, and no digest, so that the list is written anew.
func probe(ctx context.Context, c *ssh.Client, at place) (copied, error) {
	var out bytes.Buffer
	script := "tree=" + session.Quote(at.tree) + "\nlist=" + session.Quote(at.list) + probeScript
	if err := shell(ctx, c, script, &out); err != nil {
		return copied{}, err
	}
	return parseProbe(&out), nil
}

// parseProbe reads the probe's lines and passes over those that say nothing to
// us. What is not proven is sent, so a line too few does no harm.
func parseProbe(r io.Reader) copied {
	box := copied{folders: map[string]bool{}, files: map[string]finding{}}
	note := func(name string, change func(*finding)) {
		if name, ok := strings.CutPrefix(name, "./"); ok && inside(name) {
			f := box.files[name]
			change(&f)
			box.files[name] = f
		}
	}
	folder := func(name string) {
		if name, ok := strings.CutPrefix(name, "./"); ok && inside(name) {
			box.folders[name] = true
		}
	}
	plain := func(digits string) string {
		name, _ := hex.DecodeString(digits)
		return "./" + string(name)
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		switch kind {
		case "tar":
			box.tar = true
		case "tree":
			box.exists = true
		case "v":
			box.list = rest
		case "d":
			folder(rest)
		case "y":
			folder(plain(rest))
		case "x":
			note(rest, func(f *finding) { f.runs = true })
		case "o":
			note(rest, func(*finding) {})
		case "l":
			lines.Scan()
			note(rest, func(f *finding) { f.link = lines.Text() })
		case "w":
			note(plain(rest), func(*finding) {})
		default: // "<sum>  ./name" or "<sum> *./name"
			sum, err := hex.DecodeString(kind)
			if err == nil && len(sum) == sha256.Size && rest != "" {
				note(strings.TrimLeft(rest, " *"), func(f *finding) { f.sum, f.hashed = [sha256.Size]byte(sum), true })
			}
		}
	}
	return box
}

// shell runs a script with the box's POSIX shell, whatever the login shell is.
// The script travels on standard input, so its length has no limit.
func shell(ctx context.Context, c *ssh.Client, script string, out io.Writer) error {
	var talk tail
	code, err := session.Run(ctx, c, session.Command{
		Line: "exec sh", Stdin: strings.NewReader("CDPATH=\n" + script), Stdout: out, Stderr: &talk,
	})
	if err != nil {
		return err
	}
	if code != 0 {
		return fault.New(fault.Failed, "See whether the box's disk is full and the home folder can be written to.",
			"the box could not do its part of the sync: exit code %d, %s", code, talk.line())
	}
	return nil
}

// tail keeps the end of what a program on the box says.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if len(t.text) > 4096 {
		t.text = append(t.text[:0], t.text[len(t.text)-2048:]...)
	}
	return len(p), nil
}

// line is the last line, safe to print.
func (t *tail) line() string {
	said := strings.TrimSpace(string(t.text))
	said = firstLine(said[strings.LastIndexByte(said, '\n')+1:])
	if said == "" {
		return "without a word"
	}
	return said
}
