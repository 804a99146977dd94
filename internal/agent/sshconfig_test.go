package agent

import (
	"runtime"
	"strings"
	"testing"

	"crabbox/internal/agent/api"
	"crabbox/internal/box"
	"crabbox/internal/mesh"
	"crabbox/internal/store"
)

// configFor is the ssh_config of a crew with one box at e.
func configFor(e box.Endpoint, hostKey string, p program) string {
	b := box.Box{ID: "cbx_0123456789ab", Slug: "web", Crew: "demo", Endpoint: e}
	m := &member{lease: store.Lease{Box: b}, keyFile: p.home + "/keys/cbx_0123456789ab", peer: &mesh.Peer{}}
	if hostKey != "" {
		m.knownBy(hostKey)
	}
	c := &connected{claim: claim{crew: "demo"}, members: []*member{m}}
	return sshConfig(c, api.Crew{Name: "demo", Members: []api.Member{{Slug: "web", Names: []string{"web.demo.cbx", "web.cbx"}}}}, p)
}

func TestSSHConfig(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the paths below are Unix paths")
	}
	home := program{file: "/usr/bin/crabbox", home: "/home/ann/.crabbox"}
	head := "# crew demo; for instance: ssh -F ssh_config HOST\n"
	for _, row := range []struct {
		story    string
		endpoint box.Endpoint
		hostKey  string
		program  program
		want     string
	}{
		{"a local box", box.Endpoint{Dialer: box.DialUnix, User: "ann", Identity: box.Identity{LeaseKey: true}}, keyGiven, home, head + `
Host web.demo.cbx web.cbx
    HostName web.demo.cbx
    User ann
    ProxyCommand env CRABBOX_HOME=/home/ann/.crabbox /usr/bin/crabbox agent stream cbx_0123456789ab
    IdentityFile "/home/ann/.crabbox/keys/cbx_0123456789ab"
    IdentityAgent none
    IdentitiesOnly yes
    UserKnownHostsFile "/home/ann/.crabbox/known_hosts"
    HostKeyAlias cbx_0123456789ab
    StrictHostKeyChecking yes
    ControlMaster no
    ControlPath none
`},
		{"an existing host that the user's known_hosts knows", box.Endpoint{
			Dialer: box.DialTCP, Addrs: []string{"192.0.2.7:2222"}, User: "root",
			Identity: box.Identity{Files: []string{"/home/ann/.ssh/id"}, Certificates: []string{"/home/ann/.ssh/id-cert.pub"}, Agent: "SSH_AUTH_SOCK"},
			HostKey:  box.HostKey{Files: []string{"/home/ann/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts"}},
		}, keyUsers, home, head + `
Host web.demo.cbx web.cbx
    HostName web.demo.cbx
    User root
    ProxyCommand env CRABBOX_HOME=/home/ann/.crabbox /usr/bin/crabbox agent stream cbx_0123456789ab
    IdentityFile "/home/ann/.ssh/id"
    CertificateFile "/home/ann/.ssh/id-cert.pub"
    IdentityAgent SSH_AUTH_SOCK
    IdentitiesOnly no
    UserKnownHostsFile "/home/ann/.ssh/known_hosts" "/etc/ssh/ssh_known_hosts"
    HostKeyAlias [192.0.2.7]:2222
    StrictHostKeyChecking yes
    ControlMaster no
    ControlPath none
`},
		{"a secret user", box.Endpoint{User: "s3cret", SecretUser: true}, "", home, head + `
# web is left out: its login is a secret; crabbox ssh web knows it
`},
		{"a user that could add a line", box.Endpoint{User: "a\n    ProxyCommand evil"}, "", home, head + `
# web is left out: User has characters that ssh_config cannot hold
`},
		{"a key file that could", box.Endpoint{User: "a", Identity: box.Identity{Files: []string{"/x\"\nProxyCommand evil"}}}, "", home, head + `
# web is left out: IdentityFile has characters that ssh_config cannot hold
`},
		{"a program with a line break", box.Endpoint{User: "a"}, "", program{file: "/a\nb", home: "/h"}, head + `
# web is left out: ProxyCommand has characters that ssh_config cannot hold
`},
	} {
		if got := configFor(row.endpoint, row.hostKey, row.program); got != row.want {
			t.Errorf("%s:\n%s\nwant:\n%s", row.story, got, row.want)
		}
	}

	odd := configFor(box.Endpoint{User: "a"}, keyGiven, program{file: "/opt/my crab's 100%/crabbox", home: "/h;rm $x"})
	if want := `    ProxyCommand env CRABBOX_HOME=/h\;rm\ \$x /opt/my\ crab\'s\ 100%%/crabbox agent stream cbx_0123456789ab` + "\n"; strings.Contains(odd, want) {
		t.Error("a home with $ cannot be in UserKnownHostsFile, yet the block is there")
	}
	odd = configFor(box.Endpoint{User: "a"}, keyGiven, program{file: "/opt/my crab's 100%/crabbox", home: "/h;rm x"})
	if want := `    ProxyCommand env CRABBOX_HOME=/h\;rm\ x /opt/my\ crab\'s\ 100%%/crabbox agent stream cbx_0123456789ab` + "\n"; !strings.Contains(odd, want) {
		t.Errorf("odd paths:\n%s\nwant in it:\n%s", odd, want)
	}
}
