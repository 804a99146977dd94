package agent

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh/knownhosts"

	"crabbox/internal/agent/api"
	"crabbox/internal/box"
)

// program is the crabbox that OpenSSH shall call.
type program struct{ file, home string }

// sshConfig makes the crew's members known to OpenSSH: ssh -F, scp, rsync,
// editors and Ansible log in to a box by its name. The bytes take the same way
// as ours (crabbox agent stream), whatever that is; the login is OpenSSH's own.
// A member whose login cannot be written down is left out, with a comment.
func sshConfig(c *connected, v api.Crew, p program) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# crew %s; for instance: ssh -F %s HOST\n", v.Name, configFile)
	for i, m := range c.members {
		if m.peer == nil {
			continue // there is nothing to log in to
		}
		var host hostBlock
		host.member(m, v.Members[i], p)
		if host.unfit != "" {
			fmt.Fprintf(&b, "\n# %s is left out: %s\n", m.lease.Box.Slug, host.unfit)
			continue
		}
		fmt.Fprintf(&b, "\nHost %s\n%s", strings.Join(v.Members[i].Names, " "), host.text.String())
	}
	return b.String()
}

// hostBlock gathers the lines of one Host. A value that the format cannot hold
// for certain, in all versions of OpenSSH, makes the block unfit.
type hostBlock struct {
	text  strings.Builder
	unfit string
}

func (h *hostBlock) member(m *member, v api.Member, p program) {
	e := m.lease.Box.Endpoint
	if e.SecretUser {
		h.unfit = "its login is a secret; crabbox ssh " + m.lease.Box.Slug + " knows it"
		return
	}
	h.line("HostName", v.Names[0])
	h.value("User", e.User)
	h.line("ProxyCommand", proxyCommand(p, string(m.lease.Box.ID), h))
	h.identity(m, e.Identity)
	h.hostKey(m, e, p)
	h.line("ControlMaster", "no")
	h.line("ControlPath", "none")
}

func (h *hostBlock) identity(m *member, id box.Identity) {
	if id.LeaseKey {
		h.file("IdentityFile", m.keyFile)
	}
	for _, file := range id.Files {
		h.file("IdentityFile", file)
	}
	for _, file := range id.Certificates {
		h.file("CertificateFile", file)
	}
	switch {
	case id.Agent == "":
		h.line("IdentityAgent", "none")
	case id.Agent == "SSH_AUTH_SOCK":
		h.line("IdentityAgent", id.Agent)
	default:
		h.file("IdentityAgent", id.Agent)
	}
	only := "no"
	if id.Only || id.Agent == "" {
		only = "yes"
	}
	h.line("IdentitiesOnly", only)
}

// hostKey has OpenSSH believe the same key as we do: the pinned one under the
// lease's id, or what the user's own files say about the host.
func (h *hostBlock) hostKey(m *member, e box.Endpoint, p program) {
	how := m.hostKey.Load()
	if len(e.HostKey.Files) > 0 && (how == nil || *how == keyUsers) {
		alias := e.HostKey.Alias
		if alias == "" && len(e.Addrs) > 0 {
			alias = knownhosts.Normalize(e.Addrs[0])
		}
		h.files("UserKnownHostsFile", e.HostKey.Files)
		if alias != "" {
			h.value("HostKeyAlias", alias)
		}
	} else {
		h.file("UserKnownHostsFile", filepath.Join(p.home, "known_hosts"))
		h.line("HostKeyAlias", string(m.lease.Box.ID))
	}
	h.line("StrictHostKeyChecking", "yes")
}

func (h *hostBlock) line(key, value string) { fmt.Fprintf(&h.text, "    %s %s\n", key, value) }

// value writes a word that OpenSSH takes as it is.
func (h *hostBlock) value(key, value string) {
	if value == "" || strings.ContainsAny(value, "\"'\\%$#") || strings.ContainsFunc(value, notPlain) {
		h.unfit = key + " has characters that ssh_config cannot hold"
		return
	}
	h.line(key, value)
}

// file writes one path; OpenSSH expands % and ${} in it.
func (h *hostBlock) file(key, path string) { h.files(key, []string{path}) }

func (h *hostBlock) files(key string, paths []string) {
	var words []string
	for _, path := range paths {
		path = filepath.ToSlash(path)
		if strings.ContainsAny(path, "\"\\$") || strings.ContainsFunc(path, func(r rune) bool { return r != ' ' && notPlain(r) }) {
			h.unfit = key + " has characters that ssh_config cannot hold"
			return
		}
		words = append(words, `"`+strings.ReplaceAll(path, "%", "%%")+`"`)
	}
	h.line(key, strings.Join(words, " "))
}

func notPlain(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }

// proxyCommand is the line that OpenSSH gives to a shell.
func proxyCommand(p program, lease string, h *hostBlock) string {
	words := []string{p.file, "agent", "stream", lease}
	if runtime.GOOS != "windows" { // there the environment has to do
		words = append([]string{"env", "CRABBOX_HOME=" + p.home}, words...)
	}
	for i, word := range words {
		if strings.ContainsFunc(word, func(r rune) bool { return r != ' ' && notPlain(r) }) {
			h.unfit = "ProxyCommand has characters that ssh_config cannot hold"
		}
		words[i] = commandWord(word)
	}
	return strings.ReplaceAll(strings.Join(words, " "), "%", "%%")
}
