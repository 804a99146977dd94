package local

import (
	"os"
	"path/filepath"
	"strings"
)

// namespaceHint says how namespaces can be allowed here.
func namespaceHint() string { return namespaceHintFrom("/proc/sys", os.Geteuid() == 0) }

// namespaceHintFrom reads the switches below dir. Each has the value that
// closes namespaces and one that opens them; those that concern plain users
// alone cannot be root's trouble.
func namespaceHintFrom(dir string, root bool) string {
	for _, s := range []struct {
		name, closed, open string
		everybody          bool
	}{
		{"user.max_user_namespaces", "0", "15000", true},
		{"kernel.unprivileged_userns_clone", "0", "1", false},             // Debian's
		{"kernel.apparmor_restrict_unprivileged_userns", "1", "0", false}, // Ubuntu's: a namespace without its capabilities
	} {
		if root && !s.everybody {
			continue
		}
		value, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(s.name, ".", "/")))
		if err == nil && strings.TrimSpace(string(value)) == s.closed {
			return s.name + " is " + s.closed + " on this system; sudo sysctl -w " + s.name + "=" + s.open + " allows namespaces."
		}
	}
	return "No switch of this system closes them; where this is a container, its seccomp profile may (Docker: --security-opt seccomp=unconfined)."
}
