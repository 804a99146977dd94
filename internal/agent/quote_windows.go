package agent

import "strings"

// commandWord quotes a word of a ProxyCommand for Windows, where paths hold no
// quotation marks.
func commandWord(s string) string {
	if strings.ContainsAny(s, " &()^") {
		return `"` + s + `"`
	}
	return s
}
