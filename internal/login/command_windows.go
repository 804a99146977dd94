package login

import (
	"os/exec"
	"syscall"
)

// shell runs line as Windows' OpenSSH does.
func shell(line string) *exec.Cmd {
	cmd := exec.Command("cmd.exe")
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: "cmd.exe /d /c " + line}
	return cmd
}

// terminate does nothing: closing its stdin is all that Windows has for it.
func terminate(*exec.Cmd) {}

func kill(cmd *exec.Cmd) { cmd.Process.Kill() }
