package static

import (
	"slices"
	"strings"
)

// settings is what ssh_config says of one host, by keyword in lower case, with
// OpenSSH's defaults filled in. Tokens and ~ in the values are not expanded
// yet. Two sources fill it: ssh -G (openssh.go) and our own reader
// (sshconfig.go).
type settings map[string][]string

// The keywords that crabbox honours.
const (
	keyHostName        = "hostname"
	keyUser            = "user"
	keyPort            = "port"
	keyIdentityFile    = "identityfile"    // any number
	keyCertificateFile = "certificatefile" // any number
	keyIdentityAgent   = "identityagent"
	keyIdentitiesOnly  = "identitiesonly"
	keyProxyJump       = "proxyjump"
	keyProxyCommand    = "proxycommand"
	keyUserKnownHosts  = "userknownhostsfile"
	keyGlobalKnown     = "globalknownhostsfile"
	keyHostKeyAlias    = "hostkeyalias"
	keyStrict          = "stricthostkeychecking"
)

// heeded are keywords that would change who is let in or believed, and that
// crabbox cannot honour: a person is told about them.
var heeded = []string{"knownhostscommand", "revokedhostkeys", "pkcs11provider"}

// get returns a keyword's value; "" where it is not set or "none".
func (s settings) get(key string) string {
	if values := s[key]; len(values) > 0 && !strings.EqualFold(values[0], "none") {
		return values[0]
	}
	return ""
}

// list returns a keyword's values without "none".
func (s settings) list(key string) []string {
	return slices.DeleteFunc(slices.Clone(s[key]), func(v string) bool { return v == "" || strings.EqualFold(v, "none") })
}

// yes reads a flag as ssh_config writes it.
func (s settings) yes(key string) bool {
	switch strings.ToLower(s.get(key)) {
	case "yes", "true":
		return true
	}
	return false
}

// unheard lists the settings of this host that crabbox does not honour and
// that a person would count on.
func (s settings) unheard() []string {
	var found []string
	for _, key := range heeded {
		if s.get(key) != "" {
			found = append(found, key)
		}
	}
	return found
}

// defaults are what OpenSSH takes where nothing is configured.
func defaults(localUser string) settings {
	return settings{
		keyUser: {localUser},
		keyPort: {"22"},
		keyIdentityFile: {
			"~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ecdsa_sk",
			"~/.ssh/id_ed25519", "~/.ssh/id_ed25519_sk", "~/.ssh/id_xmss", "~/.ssh/id_dsa",
		},
		keyUserKnownHosts: {"~/.ssh/known_hosts", "~/.ssh/known_hosts2"},
		keyGlobalKnown:    {"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"},
		keyStrict:         {"ask"},
	}
}
