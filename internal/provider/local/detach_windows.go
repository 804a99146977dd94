package local

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// detach keeps the console, and the Ctrl-C typed there, away from cmd.
func detach(cmd *exec.Cmd, word string, _ life, _ string) (after func(), err error) {
	if word != wordServe {
		return nil, cannotIsolate{errLinuxOnly.Error()}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
	return func() {}, nil
}
