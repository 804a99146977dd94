//go:build unix

package store

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func rename(from, to string) error { return os.Rename(from, to) }

// syncFolder puts a rename in the folder on the disk.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func diskFull(error) bool { return false } // the portable numbers are all there are

func ownedByOther(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) != os.Geteuid()
}

// checkWritable asks the system instead of writing: a full disk must not keep
// anybody from reading what is there.
func checkWritable(dir string) error { return unix.Access(dir, unix.W_OK|unix.X_OK) }
