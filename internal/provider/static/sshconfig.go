package static

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

// mostIncludes is how deep Include may nest, as in OpenSSH.
const mostIncludes = 16

// systemConfig is the file for all users of the machine.
const systemConfig = "/etc/ssh/ssh_config"

// readConfig reads ssh_config without OpenSSH. It knows Host with patterns and
// !, Match with all, host, originalhost, user and localuser, Include, quotes,
// and the keywords of settings.go; the first value found wins. Blocks with
// other Match conditions are skipped and named in the log.
func (p *Static) readConfig(w wish) (settings, error) {
	local, _ := account()
	r := &reader{host: w.Host, localUser: local, home: p.home, getenv: p.getenv, found: settings{}}
	if w.User != "" {
		r.found[keyUser] = []string{w.User}
	}
	if w.Port != "" {
		r.found[keyPort] = []string{w.Port}
	}
	err := p.readFiles(r, w)
	if err != nil {
		return nil, fault.New(fault.Usage, "Correct that line; ssh_config(5) describes the format.", "ssh_config: %w", err)
	}
	for _, note := range r.notes {
		p.log.Info("ssh_config", "passed over", note)
	}
	for key, values := range defaults(local) {
		if len(r.found[key]) == 0 {
			r.found[key] = values
		}
	}
	return r.found, nil
}

func (p *Static) readFiles(r *reader, w wish) error {
	if w.Config != "" {
		r.base = filepath.Join(p.home, ".ssh")
		return r.file(w.Config, true, 0)
	}
	for _, file := range []string{filepath.Join(p.home, ".ssh", "config"), systemConfig} {
		r.base = filepath.Dir(file)
		if err := r.file(file, true, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// reader collects the settings of one host out of configuration files.
type reader struct {
	host, localUser, home string
	getenv                func(string) string
	base                  string // the folder of relative Includes
	found                 settings
	notes                 []string
}

// file reads one file. With live unset nothing in it applies, not even its own
// Host blocks.
func (r *reader) file(path string, live bool, depth int) error {
	if depth > mostIncludes {
		return fmt.Errorf("%s: Include nests too deep", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return r.text(path, string(data), live, depth)
}

// text reads a file's content. active says whether the lines at hand apply:
// from the start of the file, then from each Host or Match line.
func (r *reader) text(path, content string, live bool, depth int) error {
	active := live
	number := 0
	for line := range strings.Lines(content) {
		number++
		key, rest := splitKeyword(line)
		if key == "" {
			continue
		}
		words, err := splitWords(rest)
		if key == keyProxyCommand { // the shell's business, quotes included
			words, err = strings.Fields(rest), nil
		}
		if err == nil {
			switch key {
			case "host":
				active = live && r.hostLine(words)
			case "match":
				active = live && r.matchLine(words)
			case "include":
				err = r.include(words, active, depth)
			default:
				err = r.set(key, words, rest, active)
			}
		}
		if err != nil {
			return fmt.Errorf("%s line %d: %w", path, number, err)
		}
	}
	return nil
}

// set takes a setting unless an earlier one has.
func (r *reader) set(key string, words []string, rest string, active bool) error {
	if len(words) == 0 {
		return fmt.Errorf("%s has no value", key)
	}
	if !active {
		return nil
	}
	switch key {
	case keyIdentityFile, keyCertificateFile:
		if !slices.Contains(r.found[key], words[0]) {
			r.found[key] = append(r.found[key], words[0])
		}
	case keyUserKnownHosts, keyGlobalKnown:
		r.first(key, words...)
	case keyProxyCommand:
		if r.found.get(keyProxyJump) == "" { // whichever stands first counts
			r.first(key, rest)
		}
	case keyProxyJump:
		if len(r.found[keyProxyCommand]) == 0 {
			r.first(key, words[0])
		}
	default:
		r.first(key, words[0])
	}
	return nil
}

func (r *reader) first(key string, values ...string) {
	if len(r.found[key]) == 0 {
		r.found[key] = values
	}
}

// hostLine tells whether a Host line means our host, by the name as typed,
// capitals included.
func (r *reader) hostLine(patterns []string) bool {
	matched := false
	for _, pattern := range patterns {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if !box.MatchPattern(pattern, r.host) {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	return matched
}

// matchLine tells whether a Match line applies.
func (r *reader) matchLine(words []string) bool {
	if len(words) == 1 && strings.EqualFold(words[0], "all") {
		return true
	}
	for len(words) > 0 {
		condition, negated := strings.CutPrefix(strings.ToLower(words[0]), "!")
		if len(words) < 2 {
			return r.pass("Match " + condition)
		}
		var subject string
		list := words[1]
		switch condition {
		case "host":
			if subject = r.found.get(keyHostName); subject == "" {
				subject = r.host
			}
			subject = strings.ToLower(tokens{'%': "%", 'h': r.host}.expand(subject))
			list = strings.ToLower(list)
		case "originalhost":
			subject, list = strings.ToLower(r.host), strings.ToLower(list)
		case "user":
			if subject = r.found.get(keyUser); subject == "" {
				subject = r.localUser
			}
		case "localuser":
			subject = r.localUser
		default:
			return r.pass("Match " + condition)
		}
		if matchList(list, subject) == negated {
			return false
		}
		words = words[2:]
	}
	return true
}

func (r *reader) pass(what string) bool {
	r.notes = append(r.notes, what)
	return false
}

// include reads other files as if their lines stood here; their own Host lines
// end with them.
func (r *reader) include(patterns []string, active bool, depth int) error {
	for _, pattern := range patterns {
		pattern = expandEnv(tilde(pattern, r.home), r.getenv)
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(r.base, pattern)
		}
		files, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := r.file(file, active, depth+1); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// matchList matches a comma list of patterns, some perhaps negated.
func matchList(list, s string) bool {
	matched := false
	for pattern := range strings.SplitSeq(list, ",") {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if box.MatchPattern(pattern, s) {
			if negated {
				return false
			}
			matched = true
		}
	}
	return matched
}
