//go:build unix

package login

import (
	"os/exec"
	"syscall"
)

// shell runs line as OpenSSH runs a ProxyCommand, in a process group of its
// own: exec, so that the shell does not stay in between.
func shell(line string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", "exec "+line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func terminate(cmd *exec.Cmd) { syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }

func kill(cmd *exec.Cmd) { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
