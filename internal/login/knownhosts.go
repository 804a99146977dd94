package login

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
)

// The markers of known_hosts lines, as ssh.ParseKnownHosts names them.
const (
	markerAuthority = "cert-authority"
	markerRevoked   = "revoked"
)

// knownLine is one line of a known_hosts file; one that was not read from a
// file has only its key.
type knownLine struct {
	file   string
	number int
	marker string
	hosts  []string
	key    ssh.PublicKey
	asked  string // the name that matched it
}

// readKnownHosts reads what can be read. Files that are missing say nothing; a
// line that cannot be understood costs only itself, as with OpenSSH.
//
// It does not use x/crypto/ssh/knownhosts, which gives up a whole file for one
// broken line and cannot look up an alias.
func readKnownHosts(files []string, log *slog.Logger) []knownLine {
	var lines []knownLine
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				log.Warn("known_hosts file cannot be read", "file", file, "err", err)
			}
			continue
		}
		number := 0
		for text := range bytes.Lines(data) {
			number++
			line, ok := parseKnownLine(text)
			if !ok {
				continue
			}
			line.file, line.number = file, number
			lines = append(lines, line)
		}
	}
	return lines
}

// parseKnownLine reads one line; comments and broken lines are not ok.
func parseKnownLine(text []byte) (knownLine, bool) {
	marker, hosts, key, _, _, err := ssh.ParseKnownHosts(text)
	if err != nil || (marker != "" && marker != markerAuthority && marker != markerRevoked) {
		return knownLine{}, false
	}
	return knownLine{marker: marker, hosts: hosts, key: key}, true
}

// matches tells whether the line speaks of name ("host" or "[host]:port", in
// lower case): a pattern matches it and no negated one does.
func (l *knownLine) matches(name string) bool {
	if name == "" {
		return false
	}
	matched := false
	for _, pattern := range l.hosts {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if !matchHost(pattern, name) {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	if matched {
		l.asked = name
	}
	return matched
}

func (l knownLine) where() string { return fmt.Sprintf("%s line %d", l.file, l.number) }

// matchHost compares one pattern, which may be hashed: |1|salt|HMAC-SHA1.
func matchHost(pattern, name string) bool {
	hashed, ok := strings.CutPrefix(pattern, "|1|")
	if !ok {
		return box.MatchPattern(strings.ToLower(pattern), name)
	}
	salt64, sum64, _ := strings.Cut(hashed, "|")
	salt, err := base64.StdEncoding.DecodeString(salt64)
	if err != nil {
		return false
	}
	sum, err := base64.StdEncoding.DecodeString(sum64)
	if err != nil {
		return false
	}
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return hmac.Equal(mac.Sum(nil), sum)
}

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// find returns the line that holds key.
func find(lines []knownLine, key ssh.PublicKey) (knownLine, bool) {
	for _, line := range lines {
		if sameKey(line.key, key) {
			return line, true
		}
	}
	return knownLine{}, false
}
