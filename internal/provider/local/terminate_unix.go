//go:build unix

package local

import "syscall"

// terminate asks a box to end.
const terminate = syscall.SIGTERM
