package static

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"crabbox/internal/fault"
)

// askLimit bounds one ssh -G: it resolves no names, but Match exec may run
// anything.
const askLimit = 10 * time.Second

// askSSH lets OpenSSH itself say what its configuration means for w.
func (p *Static) askSSH(ctx context.Context, w wish) (settings, error) {
	limited, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	args := []string{"-G"}
	for _, pair := range [][2]string{{"-F", p.configFile(w)}, {"-l", w.User}, {"-p", w.Port}} {
		if pair[1] != "" {
			args = append(args, pair[0], pair[1])
		}
	}
	cmd := exec.CommandContext(limited, p.ssh, append(args, "--", w.Host)...)
	cmd.WaitDelay = time.Second
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, fault.New(fault.Failed, "", "ssh -G %s was interrupted: %w", w.Host, ctx.Err())
	case limited.Err() != nil:
		return nil, fault.New(fault.Timeout, "Look for a slow Match exec in your ssh_config.", "ssh -G %s took too long: %w", w.Host, limited.Err())
	case err != nil:
		return nil, fault.New(fault.Usage, "Try: ssh -G "+w.Host, "your ssh_config does not work for host %s: %w (%q)", w.Host, err, lastLine(said.String()))
	}
	s := parseDump(out)
	s[keyUserKnownHosts] = p.moveHome(s[keyUserKnownHosts])
	return s, nil
}

// configFile is the ssh_config to give to OpenSSH; "" for its own choice. It
// goes by the home folder of the user database, not by $HOME: where the two
// differ, the person's wish is $HOME.
func (p *Static) configFile(w wish) string {
	if w.Config != "" {
		return w.Config
	}
	if real := accountHome(); real == "" || real == p.home {
		return ""
	}
	file := filepath.Join(p.home, ".ssh", "config")
	if _, err := os.Stat(file); err != nil {
		return "none"
	}
	return file
}

// moveHome puts paths that OpenSSH has expanded to the account's home into the
// person's.
func (p *Static) moveHome(paths []string) []string {
	real := accountHome()
	if real == "" || real == p.home {
		return paths
	}
	for i, path := range paths {
		if rest, ok := strings.CutPrefix(path, real+"/.ssh/"); ok {
			paths[i] = filepath.Join(p.home, ".ssh", rest)
		}
	}
	return paths
}

// accountHome is the home folder in the user database; "" when it is not to be
// had. A program built without cgo would answer $HOME, so the file is read first.
func accountHome() string {
	uid := strconv.Itoa(os.Getuid())
	data, _ := os.ReadFile("/etc/passwd")
	for line := range bytes.Lines(data) {
		if fields := strings.Split(strings.TrimSpace(string(line)), ":"); len(fields) == 7 && fields[2] == uid {
			return fields[5]
		}
	}
	me, err := user.Current()
	if err != nil {
		return ""
	}
	return me.HomeDir
}

// parseDump reads what ssh -G prints: a keyword and its value on each line,
// without quotes.
func parseDump(out []byte) settings {
	s := settings{}
	for line := range bytes.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		switch key = strings.ToLower(key); key {
		case keyUserKnownHosts, keyGlobalKnown:
			s[key] = splitPaths(value)
		default:
			s[key] = append(s[key], value)
		}
	}
	return s
}

// splitPaths takes a list of paths apart that was joined by spaces. A word that
// begins no path belongs to the one before it.
func splitPaths(line string) []string {
	var paths []string
	for word := range strings.SplitSeq(line, " ") {
		begins := strings.HasPrefix(word, "/") || strings.HasPrefix(word, "~") || filepath.IsAbs(word)
		if begins || len(paths) == 0 {
			paths = append(paths, word)
		} else {
			paths[len(paths)-1] += " " + word
		}
	}
	return paths
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}
