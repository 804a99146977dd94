package local

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"crabbox/internal/box"
)

// record is meta.json: all that is known of one box. Its life part never
// changes; the rest may, by writing the whole file anew.
type record struct {
	Version int     `json:"version"`
	Box     box.Box `json:"box"`
	Nonce   string  `json:"nonce"`
	// Pid of the box's process; 0 until it runs. A hint and no proof: see end.
	Pid int `json:"pid"`
	// Ready is set when the box answered.
	Ready bool `json:"ready"`
	Life  life `json:"life"`
}

const recordVersion = 1

// life is how a box's process has to live.
type life struct {
	Isolated   bool   `json:"isolated"`
	Network    string `json:"network"`
	Hostname   string `json:"hostname"`
	User       string `json:"user"`
	Home       string `json:"home"` // as the box sees it
	Shell      string `json:"shell"`
	Executable string `json:"executable"` // as the box sees it
	// Env of commands, KEY=VALUE.
	Env []string `json:"env"`
	// Hidden folders of the host, for isolated boxes.
	Hidden []string `json:"hidden,omitempty"`
	// Authorized is the lease's public key.
	Authorized string    `json:"authorized"`
	Expires    time.Time `json:"expires,omitzero"`
}

// The names in a box's folder.
const (
	fileRecord  = "meta.json"
	fileHostKey = "host_key"
	fileLock    = "lock"
	fileSocket  = "ssh.sock"
	fileLog     = "log"
	dirHome     = "home"
	dirTmp      = "tmp"
	dirVarTmp   = "vartmp"
)

// readRecord reads the record of the box whose folder is dir.
func readRecord(dir string) (record, error) {
	data, err := os.ReadFile(filepath.Join(dir, fileRecord))
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("%s: %w", fileRecord, err)
	}
	if r.Version != recordVersion {
		return record{}, fmt.Errorf("%s has version %d, and this crabbox reads %d", fileRecord, r.Version, recordVersion)
	}
	if id := filepath.Base(dir); id != string(r.Box.ID) {
		return record{}, fmt.Errorf("%s of %s is about %q", fileRecord, id, r.Box.ID)
	}
	return r, nil
}

// write replaces the record in dir: readers see the old or the new one. The
// caller holds the box's id (see hold), so there is one writer at a time.
func (r record) write(dir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	temporary := filepath.Join(dir, fileRecord+".new")
	if err := writeSynced(temporary, append(data, '\n')); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(dir, fileRecord))
}

// writeSynced writes a private file and waits until the disk has it.
func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
