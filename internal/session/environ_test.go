//go:build unix

package session_test

import (
	"fmt"
	"strings"
	"testing"

	"crabbox/internal/session"
)

func TestEnvironment(t *testing.T) {
	env := map[string]string{
		"PLAIN": "x", "EMPTY": "", "QUOTES": `it's "this" $HOME` + " `id` \\n", "LINES": "a\nb\n", "UTF": "日本", "_u1": "1", "LC_OURS": "lc",
	}
	var words []string
	for name := range env {
		words = append(words, name)
	}
	onEachHost(t, func(t *testing.T, h host) {
		c := h.connect(t)
		for _, name := range words {
			code, out, talk := run(t, c, session.Command{Line: fmt.Sprintf(`printf '%%s|' "$%s"`, name), Env: env})
			if code != 0 || out != env[name]+"|" {
				t.Errorf("%s is %q, want %q (code %d, stderr %q)", name, out, env[name], code, talk)
			}
		}
	})
}

// A value shows in no process list, and in no file once the command runs.
func TestEnvironmentIsSecret(t *testing.T) {
	onEachHost(t, func(t *testing.T, h host) {
		const secret = "s3cr3t-value-of-the-test"
		// The pattern is written so that its own command line does not match.
		_, out, talk := run(t, h.connect(t), session.Command{
			Line: `echo "has $TOKEN"
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep 's3cr3[t]-value' && echo IN A PROCESS LIST
grep -l 's3cr3[t]-value' /dev/shm/.crabbox-env-* /tmp/.crabbox-env-* "$HOME"/.crabbox-env-* 2>/dev/null && echo IN A FILE
true`,
			Env: map[string]string{"TOKEN": secret},
		})
		if out != "has "+secret+"\n" {
			t.Errorf("stdout %q, stderr %q", out, talk)
		}
	})
}

func TestEnvironmentWithFolderAndTerminal(t *testing.T) {
	dir := t.TempDir()
	onEachTerminalHost(t, func(t *testing.T, h host) {
		code, out, _ := run(t, h.connect(t), session.Command{
			Line: `echo "$A in $(pwd -P)"; exit 9`, Dir: dir, Terminal: true, Env: map[string]string{"A": "b c"},
		})
		if code != 9 || strings.ReplaceAll(out, "\r", "") != "b c in "+dir+"\n" {
			t.Errorf("code %d, stdout %q", code, out)
		}
	})
}
