package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each way to close namespaces has its own remedy, and what concerns plain
// users alone is not told to root.
func TestNamespaceHint(t *testing.T) {
	const (
		limit    = "user/max_user_namespaces"
		debian   = "kernel/unprivileged_userns_clone"
		apparmor = "kernel/apparmor_restrict_unprivileged_userns"
	)
	for _, row := range []struct {
		switches    map[string]string
		plain, root string
	}{
		{map[string]string{limit: "0", debian: "0", apparmor: "1"}, "user.max_user_namespaces=15000", "user.max_user_namespaces=15000"},
		{map[string]string{limit: "96364", debian: "0"}, "kernel.unprivileged_userns_clone=1", "seccomp=unconfined"},
		{map[string]string{limit: "96364", debian: "1", apparmor: "1"}, "kernel.apparmor_restrict_unprivileged_userns=0", "seccomp=unconfined"},
		{map[string]string{limit: "96364", apparmor: "0"}, "seccomp=unconfined", "seccomp=unconfined"},
		{nil, "seccomp=unconfined", "seccomp=unconfined"},
	} {
		dir := t.TempDir()
		for name, value := range row.switches {
			file := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for root, want := range map[bool]string{false: row.plain, true: row.root} {
			if hint := namespaceHintFrom(dir, root); !strings.Contains(hint, want) {
				t.Errorf("%v, root %v: %q, want %s in it", row.switches, root, hint, want)
			}
		}
	}
}
