package crew

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"crabbox/internal/box"
)

func TestOwnerName(t *testing.T) {
	system := func() string {
		t.Setenv("PATH", t.TempDir()) // no git there
		return OwnerName(t.Context())
	}
	path := os.Getenv("PATH")
	user := system()
	if err := box.CheckName("owner", user); err != nil || user == "unknown" {
		t.Errorf("the system's user is %q: %v", user, err)
	}
	t.Setenv("PATH", path)
	config := filepath.Join(t.TempDir(), "gitconfig")
	t.Setenv("GIT_CONFIG_GLOBAL", config)
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	t.Chdir(t.TempDir())
	for email, want := range map[string]string{"Ann.Lee@example.com": "ann-lee", "": user, "@@": user} {
		if err := os.WriteFile(config, []byte("[user]\n\temail = \""+email+"\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := OwnerName(t.Context()); got != want {
			t.Errorf("user.email %q gives %q, want %q", email, got, want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got := OwnerName(ended); got != user {
		t.Errorf("without time: %q, want %q", got, user)
	}
}
