//go:build unix

package cli

import (
	"os"
	"syscall"
)

// caught are the signals that the program handles. PIPE is among them so that a
// reader who goes away (run ... | head) does not end the program before it has
// released its box.
var caught = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE,
	syscall.SIGUSR1, syscall.SIGUSR2,
}

// signalName is the name that travels to a box (RFC 4254 section 6.10), and
// whether the signal ends a command of ours.
func signalName(s os.Signal) (name string, ends bool) {
	switch s {
	case syscall.SIGINT:
		return "INT", true
	case syscall.SIGTERM:
		return "TERM", true
	case syscall.SIGHUP:
		return "HUP", true
	case syscall.SIGUSR1:
		return "USR1", false
	case syscall.SIGUSR2:
		return "USR2", false
	}
	return "", false
}
