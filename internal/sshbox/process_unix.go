//go:build unix

package sshbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalsByName are those that RFC 4254 section 6.10 names.
var signalsByName = map[string]syscall.Signal{
	"ABRT": unix.SIGABRT, "ALRM": unix.SIGALRM, "FPE": unix.SIGFPE, "HUP": unix.SIGHUP, "ILL": unix.SIGILL,
	"INT": unix.SIGINT, "KILL": unix.SIGKILL, "PIPE": unix.SIGPIPE, "QUIT": unix.SIGQUIT, "SEGV": unix.SIGSEGV,
	"TERM": unix.SIGTERM, "USR1": unix.SIGUSR1, "USR2": unix.SIGUSR2,
}

func defaultShell() string { return "/bin/sh" }

// shellCommand runs line by shell. A login shell is told so by the dash before
// its name.
func shellCommand(shell, line string) *exec.Cmd {
	name := filepath.Base(shell)
	if line == "" {
		return &exec.Cmd{Path: shell, Args: []string{"-" + name}}
	}
	return &exec.Cmd{Path: shell, Args: []string{name, "-c", line}}
}

// ownSession makes a command the leader of a session and a process group.
func ownSession(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// signalGroup signals the process group that p leads. The caller knows that p
// was not collected yet.
func signalGroup(p *os.Process, name string) error {
	sig, ok := signalsByName[name]
	if !ok {
		return unix.EINVAL
	}
	return unix.Kill(-p.Pid, sig)
}

func exitOf(state *os.ProcessState) exit {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return exit{code: uint32(state.ExitCode())}
	}
	for name, sig := range signalsByName {
		if sig == status.Signal() {
			return exit{signal: name, core: status.CoreDump()}
		}
	}
	// The RFC wants names of one's own to carry a domain.
	name := strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")
	return exit{signal: name + "@crabbox", core: status.CoreDump()}
}
