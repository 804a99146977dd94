//go:build unix

package doctor

import "golang.org/x/sys/unix"

// openFiles is how many files a process may have open.
func openFiles() (limit uint64, known bool) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, false
	}
	return uint64(r.Cur), true
}
