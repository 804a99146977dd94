//go:build unix

package local

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// shells are those whose -c takes a POSIX command line, which is what commands
// on boxes are written in.
var shells = []string{"sh", "bash", "dash", "zsh", "ksh", "mksh", "ash"}

// shellOf is the shell of a box's commands: the operator's own where that is a
// POSIX one.
func shellOf(own string) string {
	if filepath.IsAbs(own) && slices.Contains(shells, filepath.Base(own)) {
		if info, err := os.Stat(own); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return own
		}
	}
	return "/bin/sh"
}

// owned tells whether path is a folder of the operator's.
func owned(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
