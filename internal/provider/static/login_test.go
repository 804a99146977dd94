package static

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh/knownhosts"

	"crabbox/internal/login"
	"crabbox/internal/provider"
	"crabbox/internal/sshdtest"
)

// TestLoginAsConfigured logs in to real servers the way an ssh_config says:
// directly, through a jump host, and through OpenSSH as a ProxyCommand.
func TestLoginAsConfigured(t *testing.T) {
	gate, s := sshdtest.Start(t, sshdtest.Options{}), sshdtest.Start(t, sshdtest.Options{})
	dir := t.TempDir()
	known, config := filepath.Join(dir, "known_hosts"), filepath.Join(dir, "config")
	lines := knownhosts.Line([]string{gate.Addr}, gate.HostKey) + "\n" + knownhosts.HashHostname("behind") + " " + lineOf(s) + "\n"
	text := fmt.Sprintf(`
UserKnownHostsFile %[1]s
StrictHostKeyChecking yes
IdentityAgent none
Host gate
  Port %[2]d
  IdentityFile %[3]s
Host direct jumped commanded
  HostKeyAlias behind
  Port %[4]d
  IdentityFile %[5]s
Host jumped
  ProxyJump gate
Host commanded
  ProxyCommand ssh -F %[6]s -W %%h:%%p gate
Host *
  HostName 127.0.0.1
`, known, gate.Port, gate.UserKeyFile, s.Port, s.UserKeyFile, config)
	for file, data := range map[string]string{known: lines, config: text} {
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, reader := range []string{sshPath(t), ""} {
		p := staticAt(t, t.TempDir(), t.TempDir(), reader, "", nil)
		for _, host := range []string{"direct", "jumped", "commanded"} {
			b := create(t, p, request(host, provider.Options{"host": host, "config": config}))
			d := &login.Dialer{Getenv: func(string) string { return "" }, UserHome: p.home}
			client, err := d.Connect(t.Context(), login.Target{Name: host, Endpoint: b.Endpoint})
			if err != nil {
				t.Errorf("%s (read by %q): %v", host, reader, err)
				continue
			}
			client.Close()
			client.Wait()
		}
	}
	if !gate.LogContains("Accepted publickey") {
		t.Error("nobody passed the gate")
	}
}

// lineOf is a server's key as known_hosts has it, without a name.
func lineOf(s *sshdtest.Server) string {
	return knownhosts.Line([]string{"x"}, s.HostKey)[len("x "):]
}
