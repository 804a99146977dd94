package local

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// end ends the box's process and all that runs in it. A process id on disk may
// be anybody's by now, so the box is taken by three steps: the kernel says who
// listens on its socket (the record only where nobody does), the process is
// pinned by a descriptor, and then the lock must still be held. It is held
// by the box alone, so the descriptor is of the box.
func (p *Provider) end(ctx context.Context, id string, r record) error {
	if !p.alive(id) {
		return nil
	}
	pid := r.Pid
	if listener := listenerPid(ctx, filepath.Join(p.folder(id), fileSocket)); listener > 0 {
		pid = listener
	}
	if pid <= 1 {
		return errUnknownProcess
	}
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case err == unix.ESRCH:
		return p.awaitDeath(ctx, id)
	case err == unix.ENOSYS: // before Linux 5.3
		return p.endUnpinned(ctx, id, pid)
	case err != nil:
		return fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if !p.alive(id) {
		return nil
	}
	gentle, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0) == nil && exited(gentle, fd) {
		return p.awaitDeath(ctx, id)
	}
	if !r.Life.Isolated {
		// Stopped it makes no more children and still inherits its orphans.
		_ = unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0)
		killDescendants(ctx, pid)
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	if !exited(ctx, fd) {
		return fmt.Errorf("process %d: %w", pid, ctx.Err())
	}
	return p.awaitDeath(ctx, id)
}

// exited waits until the process of the descriptor has ended.
func exited(ctx context.Context, pidfd int) bool {
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 20)
		if n > 0 {
			return true
		}
		if err != nil && err != unix.EINTR {
			return false
		}
	}
	return false
}

// listenerPid asks the kernel who listens on the socket; 0 when nobody does.
func listenerPid(ctx context.Context, socket string) int {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return 0
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(peer.Pid)
		}
	})
	return pid
}

// ownProcesses readies the box's process for the processes in it.
func ownProcesses() error {
	if err := closeOnExec(insideFD); err != nil {
		return err
	}
	if os.Getpid() != 1 {
		// A process box: whoever loses their parent in it becomes ours, so that
		// all that it ever started can be found as its descendants. Only what
		// is left when the box itself is killed by SIGKILL escapes: no kernel
		// interface that an ordinary user has would hold it.
		return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	// The box's commands have the same user id. They must not look into the
	// process that holds the host key and a way to the host's folders.
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// endOthers kills whatever else runs in the box of this process.
func endOthers() {
	if os.Getpid() == 1 {
		_ = unix.Kill(-1, unix.SIGKILL)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastBreath)
	defer cancel()
	killDescendants(ctx, os.Getpid())
}

// killDescendants kills until there is nobody left below pid, whose process
// inherits orphans.
func killDescendants(ctx context.Context, pid int) {
	for ctx.Err() == nil {
		below := descendants(pid)
		if len(below) == 0 {
			return
		}
		for _, child := range below {
			killPinned(pid, child)
		}
	}
}

// killPinned kills child if it is still below pid once it is pinned.
func killPinned(pid, child int) {
	fd, err := unix.PidfdOpen(child, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for at := child; at > 1; {
		parent, dead := parentOf(at)
		if parent == pid && !dead {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			return
		}
		at = parent
	}
}

// descendants lists the living processes below pid.
func descendants(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]int{}
	for _, e := range entries {
		if child, err := strconv.Atoi(e.Name()); err == nil {
			if parent, dead := parentOf(child); !dead {
				children[parent] = append(children[parent], child)
			}
		}
	}
	var below []int
	for queue := children[pid]; len(queue) > 0; queue = queue[1:] {
		below = append(below, queue[0])
		queue = append(queue, children[queue[0]]...)
	}
	return below
}

// parentOf reads pid's parent; dead when it has ended, collected or not.
func parentOf(pid int) (parent int, dead bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, true
	}
	// pid (any name at all) state parent ...
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 2 {
		return 0, true
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, err != nil || fields[0] == "Z" || fields[0] == "X"
}
