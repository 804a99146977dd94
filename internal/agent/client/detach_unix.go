//go:build unix

package client

import (
	"os/exec"
	"syscall"
)

// detach lets the agent outlive this command, its terminal and its folder.
func detach(cmd *exec.Cmd) {
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}
