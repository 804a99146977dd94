package local

import (
	"os/user"
	"path/filepath"
	"strings"

	"crabbox/internal/provider"
)

// person is the operator, as far as boxes are concerned.
type person struct {
	name  string   // the account's name, which boxes keep
	shell string   // the shell of commands
	homes []string // the home folders by passwd and by $HOME, in this order
	path  []string // the operator's PATH
	crab  string   // CRABBOX_HOME, or whatever holds Settings.Dir
	lang  string
	zone  string
	// runtime are the variables of the Go runtime, for whoever debugs boxes.
	// They reach the box's process and not its commands.
	runtime []string
}

func personOf(s provider.Settings) person {
	getenv := s.Getenv
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	p := person{
		name: "box", shell: shellOf(getenv("SHELL")), path: filepath.SplitList(getenv("PATH")),
		lang: getenv("LANG"), zone: getenv("TZ"),
	}
	if u, err := user.Current(); err == nil {
		p.name = accountName(u.Username)
		p.homes = append(p.homes, u.HomeDir)
	}
	if s.UserHome != "" {
		p.homes = append(p.homes, s.UserHome)
	}
	if p.crab = getenv("CRABBOX_HOME"); p.crab == "" {
		p.crab = s.Dir
	}
	for _, name := range []string{"GODEBUG", "GORACE", "GOTRACEBACK"} {
		if value := getenv(name); value != "" {
			p.runtime = append(p.runtime, name+"="+value)
		}
	}
	return p
}

// accountName drops a Windows domain and whatever an SSH user name cannot hold.
func accountName(s string) string {
	s = s[strings.LastIndexByte(s, '\\')+1:]
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r == '@' || r == ':' || r == '/' || r > '~' {
			return '_'
		}
		return r
	}, s)
	if s == "" {
		return "box"
	}
	return s
}
