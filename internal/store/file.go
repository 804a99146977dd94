package store

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"crabbox/internal/fault"
)

const tempSuffix = ".tmp"

// WriteFile replaces a file below the root atomically, making its folder.
func (s *Store) WriteFile(data []byte, elem ...string) error {
	path, err := s.inside(elem...)
	if err != nil {
		return err
	}
	return replaceFile(path, data)
}

// replaceFile gives path new content that is complete and on the disk, or
// leaves it as it was. A symbolic link at path is replaced, not followed.
func replaceFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return writeFault(path, err)
	}
	temp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*"+tempSuffix) // mode 0600, never an existing file
	if err != nil {
		return writeFault(path, err)
	}
	err = fill(temp, data)
	if err == nil {
		err = rename(temp.Name(), path)
	}
	if err != nil {
		os.Remove(temp.Name())
		return writeFault(path, err)
	}
	if err := syncFolder(dir); err != nil {
		return writeFault(path, err)
	}
	return nil
}

// fill writes data to f, makes sure that it reached the disk, and closes f.
func fill(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	// File systems stamp with the clock's last tick, so two writes within one
	// tick would look the same to LeasesStamp. Ours is to the nanosecond.
	now := time.Now()
	return os.Chtimes(f.Name(), now, now)
}

// writeFault says what a person can do about a write that did not work.
func writeFault(path string, err error) error {
	if temp, ok := errors.AsType[*fs.PathError](err); ok && strings.HasSuffix(temp.Path, tempSuffix) {
		err = temp.Err // the temporary name tells nobody anything
	}
	remedy := homeRemedy
	if noRoom(err) {
		remedy = "Free some space on the disk that holds " + filepath.Dir(path) + ", then try again."
	}
	return fault.New(fault.Failed, remedy, "write %s: %w", path, err)
}

// noRoom tells whether a write failed for want of space.
func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) || diskFull(err)
}

// removeFile removes path; one that is not there is removed already.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Failed, homeRemedy, "forget a file: %w", err)
	}
	return nil
}

// marshal gives files the look that a person can read and diff.
func marshal(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}

// Broken is a file that could not be read and was set aside.
type Broken struct {
	Path   string `json:"path"`   // where it was
	Aside  string `json:"aside"`  // where it is now; "" when it is still there
	Reason string `json:"reason"` // why, one line
}

// errNewer marks content that a newer crabbox wrote: reported and left alone.
var errNewer = errors.New("written by a newer version of crabbox")

// readFolder reads every NAME.json of a folder. What cannot be understood is
// set aside and reported; it costs nobody else anything. Writers in that folder
// hold the lock of its name.
func readFolder[T any](s *Store, folder string, decode func(name string, data []byte) (T, error)) ([]T, []Broken, error) {
	entries, err := os.ReadDir(s.Path(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fault.New(fault.Failed, homeRemedy, "read the state folder: %w", err)
	}
	var all []T
	var broken []Broken
	for _, entry := range entries {
		name, isRecord := strings.CutSuffix(entry.Name(), ".json")
		if !isRecord || strings.HasPrefix(name, ".") {
			continue
		}
		path := s.Path(folder, entry.Name())
		v, err := readRecord(path, name, decode)
		if err == nil {
			all = append(all, v)
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since we looked
		}
		b := Broken{Path: path, Reason: firstLine(err.Error())}
		if brokenForGood(err) {
			b.Aside = s.setAside(folder, path, func() error {
				_, err := readRecord(path, name, decode)
				return err
			})
		}
		broken = append(broken, b)
	}
	return all, broken, nil
}

func readRecord[T any](path, name string, decode func(name string, data []byte) (T, error)) (v T, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return v, err
	}
	return decode(name, data)
}

// brokenForGood tells a file that will not get better by itself from one that
// is in order but could not be read now (no more file descriptors, a disk that
// does not answer): hiding that one could hide a box that costs money.
func brokenForGood(err error) bool {
	if errors.Is(err, errNewer) {
		return false
	}
	if _, isIO := errors.AsType[*fs.PathError](err); isIO {
		return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EISDIR)
	}
	return true
}

// setAside renames a broken file to NAME.broken and returns the new name, ""
// when it stays. Under the folder's lock it looks again, so that it never takes
// away what somebody has just repaired.
func (s *Store) setAside(lock, path string, check func() error) string {
	unlock, err := s.lockBriefly(lock)
	if err != nil {
		return ""
	}
	defer unlock()
	if err := check(); err == nil || !brokenForGood(err) {
		return ""
	}
	aside := path + ".broken"
	if err := rename(path, aside); err != nil {
		return ""
	}
	return aside
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
