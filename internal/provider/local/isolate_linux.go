package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// The way of an isolated box's process:
//
//	launcher --clone in new namespaces, exec--> isolate: all capabilities in
//	the box's user namespace, builds the view --drop, exec--> serve as PID 1:
//	no capability, no way to get one, memory closed to its own commands
//
// It is one process all the way, so the launcher knows its id from the start.

// insideBase is the folder of all boxes as an isolated box's process has it: a
// descriptor that the launcher opened, so it leads to the host's mounts, where
// things can still be removed when the box ends.
const (
	insideFD   = 3
	insideBase = "/proc/self/fd/3"
)

// detach makes cmd a session of its own and, for isolated boxes, puts it in
// namespaces. The caller runs after once the process has started.
func detach(cmd *exec.Cmd, word string, l life, dir string) (after func(), err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if word == wordServe {
		return func() {}, nil
	}
	base, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{base} // insideFD
	uid, gid := os.Geteuid(), os.Getegid()
	attr := cmd.SysProcAttr
	attr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	if l.Network != networkHost {
		attr.Cloneflags |= unix.CLONE_NEWNET
	}
	// The same ids inside: programs that look at their user see no difference,
	// and files belong to the operator, who can remove them.
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP, unix.CAP_SYS_RESOURCE}
	return func() { _ = base.Close() }, nil
}

// startFailure tells namespaces that are not to be had from other failures to
// start a process.
func startFailure(word string, err error) error {
	if word == wordServe {
		return err
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS) { // "no space left on device" would mislead
		return cannotIsolate{"the limit on the number of namespaces is reached"}
	}
	for _, refusal := range []error{unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENOSYS} {
		if errors.Is(err, refusal) {
			return cannotIsolate{"user namespaces are refused: " + refusal.Error()}
		}
	}
	return err
}

// isolate is the first process of an isolated box. It returns only when it
// fails, or at the end of a probe.
func isolate(word, base, id string) error {
	runtime.LockOSThread() // what drop does holds for one thread, which then execs
	r, err := readRecord(filepath.Join(base, id))
	if err != nil {
		return refuse(err, false)
	}
	v := &view{life: r.Life, dir: filepath.Join(base, id)}
	if err := v.build(); err != nil {
		return refuse(err, true)
	}
	if err := drop(); err != nil {
		return refuse(fmt.Errorf("give up privileges: %w", err), true)
	}
	if word == wordProbe {
		return tell(answer{Ready: true})
	}
	if err := closeOnExec(insideFD + 1); err != nil {
		return refuse(err, false)
	}
	env := append(os.Environ(), "HOME="+r.Life.Home)
	err = unix.Exec(ExecutablePath, []string{filepath.Base(ExecutablePath), Word, wordInside, id}, env)
	return refuse(fmt.Errorf("exec: %w", err), false)
}

// closeOnExec keeps every descriptor from first on out of what this process
// execs. Whoever ran crabbox may have left some open, to who knows what.
func closeOnExec(first int) error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// drop gives up, for this thread and what it execs, every capability and every
// way to one. It matters most to a box of root, whose files are the system's.
func drop() error {
	for c := uintptr(0); ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err == unix.EINVAL {
			break // the last one that this kernel knows was before
		}
		if err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	// The operator's keys in the kernel; a system without keyrings has none.
	_, _ = unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	var none [2]unix.CapUserData
	return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
}
