//go:build unix

package agent

import "strings"

// commandWord quotes a word of a ProxyCommand for the user's shell. It uses the
// backslash alone, before every character that is not harmless: OpenSSH looks
// for unbalanced quotes in the line before any shell sees it.
func commandWord(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= 0x80,
			strings.IndexByte("/._-+=:,@%", c) >= 0:
		default:
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
