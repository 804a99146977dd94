package static

import (
	"os"
	"path/filepath"
	"strings"
)

// tokens are the values of ssh_config's percent signs for one host: %h %p %r
// %n %u %d %i %j %k %L %l %% (TOKENS in ssh_config(5)). %C is left out, since
// only OpenSSH's own control sockets need it.
type tokens map[byte]string

// expand replaces the tokens in s; unknown ones stay as they are.
func (t tokens) expand(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if value, ok := t[s[i]]; ok {
			b.WriteString(value)
		} else {
			b.WriteByte('%')
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// path expands a file name: ~, then tokens, then ${VARIABLES}.
func (p *Static) path(t tokens, s string) string {
	return expandEnv(t.expand(tilde(s, p.home)), p.getenv)
}

func (p *Static) paths(t tokens, list []string) []string {
	var paths []string
	for _, s := range list {
		paths = append(paths, p.path(t, s))
	}
	return paths
}

// tilde replaces a leading ~/ by the home folder.
func tilde(s, home string) string {
	if s == "~" {
		return home
	}
	if rest, ok := strings.CutPrefix(s, "~/"); ok {
		return filepath.Join(home, rest)
	}
	return s
}

// expandEnv replaces ${NAME}, the only form that ssh_config knows.
func expandEnv(s string, getenv func(string) string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "${")
		name, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(before + getenv(name))
		s = after
	}
}

// hostTokens are the tokens for a host that is typed as w and configured as s.
func (p *Static) hostTokens(w wish, s settings, hostName string) tokens {
	local, _ := os.Hostname()
	short, _, _ := strings.Cut(local, ".")
	key := s.get(keyHostKeyAlias)
	if key == "" {
		key = w.Host
	}
	name, uid := account()
	return tokens{
		'%': "%", 'h': hostName, 'n': w.Host, 'p': s.get(keyPort), 'r': s.get(keyUser),
		'u': name, 'i': uid, 'd': p.home, 'l': local, 'L': short, 'k': key, 'j': s.get(keyProxyJump),
	}
}
