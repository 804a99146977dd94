//go:build unix && !linux

package local

import (
	"os/exec"
	"syscall"
)

// detach makes cmd a session of its own, so that no terminal reaches it.
func detach(cmd *exec.Cmd, word string, _ life, _ string) (after func(), err error) {
	if word != wordServe {
		return nil, cannotIsolate{errLinuxOnly.Error()}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return func() {}, nil
}
