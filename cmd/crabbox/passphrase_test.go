//go:build unix

package main

import (
	"os/exec"
	"strings"
	"testing"

	"crabbox/internal/sshdtest"
)

// An encrypted key is asked for at a terminal, by the command that logs in and
// by the one that hands it to the agent, and never in a pipe.
func TestEncryptedKeyIsAskedForAtATerminalOnly(t *testing.T) {
	server, home := sshdtest.Start(t, sshdtest.Options{}), newHome(t)
	if out, err := exec.Command("ssh-keygen", "-q", "-p", "-f", server.UserKeyFile, "-P", "", "-N", "open sesame").CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	warmup := []string{"warmup", "--provider", "ssh", "-o", "host=" + server.User + "@" + server.Addr,
		"-o", "identity=" + server.UserKeyFile, "--crew", "vault", "--slug", "one", "--expose", "9"}

	out, err := command(home, warmup...).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 4 {
		t.Fatalf("in a pipe: %v, want exit code 4\n%s", err, out)
	}
	x := atTerminal(t, home, nil, warmup...)
	x.expect(`(?i)passphrase`)
	x.typed("\x03")
	x.ends(130)

	x = atTerminal(t, home, nil, warmup...)
	x.expect(`(?i)passphrase`)
	x.typed("open sesame\n")
	x.ends(0)
	if strings.Contains(x.text(), "sesame") {
		t.Error("the passphrase is on the screen")
	}

	x = atTerminal(t, home, nil, "crew", "connect", "vault", "--detach", "--timeout", "15s")
	x.expect(`(?i)passphrase`)
	x.typed("wrong\n")
	x.expect(`not its passphrase`)
	x.typed("open sesame\n")
	x.ends(3) // nothing listens on port 9
	x.expect(`nothing listens there`)
}
