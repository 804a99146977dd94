package store

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// rename replaces to, waiting a moment for readers that hold it open (virus
// scanners above all), since Windows does not replace an open file.
func rename(from, to string) error {
	deadline := time.Now().Add(2 * time.Second)
	for {
		err := os.Rename(from, to)
		busy := errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
		if !busy || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// syncFolder does nothing: a folder cannot be synced on Windows.
func syncFolder(string) error { return nil }

func diskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// ownedByOther cannot be told from a FileInfo here; a profile's folder is its
// user's by its access list.
func ownedByOther(fs.FileInfo) bool { return false }

func checkWritable(dir string) error {
	f, err := os.CreateTemp(dir, ".*"+tempSuffix)
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}
