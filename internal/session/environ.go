package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/fault"
)

// validName says whether a POSIX shell can have a variable of this name.
func validName(name string) bool {
	for i, r := range name {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

// setenv sends the variables as env requests and returns those that the server
// does not take. It stops asking at the first refusal: each question costs a
// round trip, and a server that refuses one mostly refuses all.
func (k *call) setenv(cmd Command) (left map[string]string, err error) {
	left = maps.Clone(cmd.Env)
	if cmd.Terminal {
		delete(left, "TERM") // goes with the pseudo-terminal
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		granted, err := k.ch.SendRequest("env", true, ssh.Marshal(struct{ Name, Value string }{name, left[name]}))
		if err != nil {
			return nil, lost(err)
		}
		if !granted {
			break
		}
		delete(left, name)
	}
	return left, nil
}

// leave writes the variables to a new file on the box, as shell lines, and
// returns its path. They travel on standard input, so that they show in no
// process list. Memory is preferred to disk, and noclobber (set -C) makes sure
// that the file is ours.
func leave(ctx context.Context, c *ssh.Client, vars map[string]string) (file string, err error) {
	if len(vars) == 0 {
		return "", nil
	}
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		fmt.Fprintf(&lines, "export %s=%s\n", name, Quote(vars[name]))
	}
	script := `umask 077
for d in /dev/shm "${TMPDIR:-/tmp}" "$HOME"; do
	f=$d/.crabbox-env-` + rand.Text() + `
	(set -C; : >"$f") 2>/dev/null || continue
	cat >"$f" && printf %s "$f" && exit
	rm -f "$f"; exit 1
done
exit 1`
	var out, talk bytes.Buffer
	code, err := Run(ctx, c, Command{
		Line: "exec sh -c " + Quote(script), Stdin: strings.NewReader(lines.String()), Stdout: &out, Stderr: &talk,
	})
	if err != nil {
		return "", err
	}
	if code != 0 || out.Len() == 0 {
		return "", fault.New(fault.Failed, "See whether /tmp on the box is full or read-only.",
			"the box has no place for the command's environment (exit code %d): %.200q", code, talk.String())
	}
	return out.String(), nil
}
