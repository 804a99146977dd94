package agent

import (
	"encoding/json"
	"os"
	"time"

	"crabbox/internal/agent/api"
	"crabbox/internal/store"
)

// The files of a connected crew, below crew/<name>/.
const (
	hostsFile    = "hosts"         // lines for a hosts file
	envFile      = "env"           // lines for a shell
	forwardsFile = "forwards.json" // the crew as package api has it
	configFile   = "ssh_config"    // for ssh -F
)

var crewFiles = []string{hostsFile, envFile, forwardsFile, configFile}

// files writes the files of the connected crews and removes those of the
// others. It belongs to the loop.
type files struct {
	store   *store.Store
	written map[string]map[string]string // by crew and file: what decided the content
}

// write makes the crew's files say what c and v do, touching only those that
// change.
func (f *files) write(c *connected, v api.Crew, executable string) error {
	forwards, err := json.MarshalIndent(struct {
		api.Crew
		Written time.Time `json:"written"` // the counters are those of this moment
	}{v, time.Now()}, "", "  ")
	if err != nil {
		return err
	}
	lasting, err := json.Marshal(lasting(v))
	if err != nil {
		return err
	}
	config := sshConfig(c, v, program{file: executable, home: f.store.Path()})
	for _, file := range []struct{ name, content, decides string }{
		{hostsFile, v.Hosts(), v.Hosts()},
		{envFile, v.Env(), v.Env()},
		{configFile, config, config},
		{forwardsFile, string(forwards) + "\n", string(lasting)},
	} {
		if f.written[v.Name][file.name] == file.decides {
			continue
		}
		if err := f.store.WriteFile([]byte(file.content), "crew", v.Name, file.name); err != nil {
			return err
		}
		if f.written[v.Name] == nil {
			f.written[v.Name] = map[string]string{}
		}
		f.written[v.Name][file.name] = file.decides
	}
	return nil
}

// lasting is v without what changes all the time, which is no reason to write
// to a disk.
func lasting(v api.Crew) api.Crew {
	members := make([]api.Member, len(v.Members))
	for i, m := range v.Members {
		m.NextTry, m.RoundTrip, m.Attempts = time.Time{}, 0, 0
		forwards := make([]api.Forward, len(m.Forwards))
		for j, f := range m.Forwards {
			f.Proven = time.Time{}
			f.Open, f.Held, f.Total, f.Refused, f.BytesIn, f.BytesOut = 0, 0, 0, 0, 0, 0
			forwards[j] = f
		}
		m.Forwards = forwards
		members[i] = m
	}
	v.Members = members
	return v
}

// keepOnly removes the files of crews that are not in the plan, also those that
// an agent left behind that was killed.
func (f *files) keepOnly(p *plan) {
	entries, err := os.ReadDir(f.store.Path("crew"))
	if err != nil {
		return // nothing there, or nothing to be done about it
	}
	for _, e := range entries {
		if e.IsDir() && (p == nil || p.crew(e.Name()) == nil) {
			f.remove(e.Name())
		}
	}
}

func (f *files) removeAll() { f.keepOnly(nil) }

// remove takes away what write made, and nothing else.
func (f *files) remove(crew string) {
	for _, name := range crewFiles {
		os.Remove(f.store.Path("crew", crew, name))
	}
	os.Remove(f.store.Path("crew", crew)) // stays when somebody put a file there
	delete(f.written, crew)
}
