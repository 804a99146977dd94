package cli

import (
	"os"
	"syscall"
)

// caught are the signals that the program handles.
var caught = []os.Signal{os.Interrupt, syscall.SIGTERM}

// signalName is the name that travels to a box (RFC 4254 section 6.10), and
// whether the signal ends a command of ours.
func signalName(s os.Signal) (name string, ends bool) {
	switch s {
	case os.Interrupt:
		return "INT", true
	case syscall.SIGTERM:
		return "TERM", true
	}
	return "", false
}
