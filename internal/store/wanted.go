package store

import (
	"encoding/json"
	"fmt"
	"time"

	"crabbox/internal/box"
)

// Wanted says that a crew shall be connected although no command stays for it.
type Wanted struct {
	Crew       string    `json:"crew"`
	Provider   string    `json:"provider,omitempty"` // only members of this provider; "" all
	Plane      string    `json:"plane,omitempty"`
	ShareLocal bool      `json:"share_local,omitempty"`
	Since      time.Time `json:"since"`
}

const wantedFolder = "wanted" // CREW.json; also the lock that guards them

// Wanted returns the crews wanted connected, by name, and what could not be read.
func (s *Store) Wanted() ([]Wanted, []Broken, error) {
	return readFolder(s, wantedFolder, decodeWanted) // folders are read in order of names
}

func decodeWanted(name string, data []byte) (Wanted, error) {
	var w Wanted
	if err := json.Unmarshal(data, &w); err != nil {
		return Wanted{}, err
	}
	if w.Crew != name {
		return Wanted{}, fmt.Errorf("holds crew %q", w.Crew)
	}
	return w, box.CheckName("crew", name)
}

// SetWanted adds or replaces a crew wanted connected.
func (s *Store) SetWanted(w Wanted) error {
	if err := box.CheckName("crew", w.Crew); err != nil {
		return err
	}
	data, err := marshal(w)
	if err != nil {
		return err
	}
	unlock, err := s.lockBriefly(wantedFolder)
	if err != nil {
		return err
	}
	defer unlock()
	return replaceFile(s.wantedPath(w.Crew), data)
}

// DropWanted forgets that a crew was wanted; one that was not is no error.
func (s *Store) DropWanted(crew string) error {
	if err := box.CheckName("crew", crew); err != nil {
		return err
	}
	unlock, err := s.lockBriefly(wantedFolder)
	if err != nil {
		return err
	}
	defer unlock()
	return removeFile(s.wantedPath(crew))
}

func (s *Store) wantedPath(crew string) string { return s.Path(wantedFolder, crew+recordSuffix) }
