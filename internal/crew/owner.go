package crew

import (
	"context"
	"os/exec"
	"os/user"
	"strings"
	"time"

	"crabbox/internal/box"
)

// ownerWait bounds the question to git: a label is not worth more.
const ownerWait = 2 * time.Second

// OwnerName says who leases, as a label value: the local part of git's
// user.email, else the system's user. It starts a process, so it is asked only
// when a box is warmed up.
func OwnerName(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, ownerWait)
	defer cancel()
	git := exec.CommandContext(ctx, "git", "config", "--get", "user.email")
	git.WaitDelay = time.Second
	if out, err := git.Output(); err == nil {
		if name := box.OwnerName(strings.TrimSpace(string(out))); name != "unknown" {
			return name
		}
	}
	current, err := user.Current()
	if err != nil {
		return box.OwnerName("")
	}
	name := current.Username
	return box.OwnerName(name[strings.LastIndex(name, `\`)+1:]) // DOMAIN\user on Windows
}
