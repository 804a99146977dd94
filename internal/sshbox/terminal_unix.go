//go:build unix

package sshbox

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal. Closing its master hangs up the processes in
// its foreground.
type terminal struct {
	kind   string   // TERM
	name   string   // /dev/pts/5
	master *os.File // ours
	slave  *os.File // the command's, ours until it is started
}

func newTerminal(r terminalRequest) (*terminal, error) {
	master, slave, err := pty.Open()
	if err != nil {
		return nil, err
	}
	t := &terminal{kind: r.Kind, name: slave.Name(), slave: slave}
	if t.master, err = interruptible(master); err != nil {
		_ = slave.Close()
		return nil, err
	}
	setModes(slave, r.Modes)
	_ = t.resize(windowSize{r.Columns, r.Rows, r.Width, r.Height}) // a size that cannot be had is no reason to have no terminal
	return t, nil
}

// interruptible replaces f by a file whose Close ends a Read that is under way,
// which pty.Open takes away from it.
func interruptible(f *os.File) (*os.File, error) {
	defer func() { _ = f.Close() }()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// attach makes t the controlling terminal of a command to be started.
func (t *terminal) attach(cmd *exec.Cmd) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = t.slave, t.slave, t.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
}

// started gives up our end of the command's side, so that its end is seen.
func (t *terminal) started() { _ = t.slave.Close() }

func (t *terminal) resize(to windowSize) error {
	size := &unix.Winsize{Col: uint16(to.Columns), Row: uint16(to.Rows), Xpixel: uint16(to.Width), Ypixel: uint16(to.Height)}
	return control(t.master, func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
}

func (t *terminal) close() {
	_ = t.master.Close()
	_ = t.slave.Close()
}

// control calls do with f's descriptor, which stays valid that long and keeps
// its mode.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}
