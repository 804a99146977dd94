package sshbox

import (
	"os"
	"os/exec"
	"syscall"
)

func defaultShell() string {
	if shell := os.Getenv("COMSPEC"); shell != "" {
		return shell
	}
	return `C:\Windows\System32\cmd.exe`
}

// shellCommand runs line by shell, which is expected to read its command line
// as cmd.exe does: all between the outer quotes, as it is.
func shellCommand(shell, line string) *exec.Cmd {
	cmd := &exec.Cmd{Path: shell, Args: []string{shell}}
	if line != "" {
		cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: syscall.EscapeArg(shell) + ` /s /c "` + line + `"`}
	}
	return cmd
}

// ownSession has no counterpart; what shellCommand set is kept.
func ownSession(cmd *exec.Cmd) {}

// signalGroup ends p for every signal that means an end, since there are no
// others on this system.
func signalGroup(p *os.Process, name string) error {
	switch name {
	case "HUP", "INT", "QUIT", "TERM", "KILL", "ABRT":
		return p.Kill()
	default:
		return os.ErrInvalid
	}
}

func exitOf(state *os.ProcessState) exit { return exit{code: uint32(state.ExitCode())} }
