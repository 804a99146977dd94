//go:build unix && !linux

package sshbox

import "os"

// setModes leaves the system's default modes, which suit a client with a
// terminal in raw mode.
func setModes(*os.File, string) {}
