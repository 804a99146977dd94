package client

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// detach lets the agent outlive this command and its console.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		HideWindow:    true,
		CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP,
	}
}
