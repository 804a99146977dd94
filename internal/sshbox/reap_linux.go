package sshbox

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reaper collects orphans in a process that inherits them: PID 1 of a PID
// namespace, or a child subreaper. It never takes the status of a command that
// was started through it, so exec.Cmd works as ever.
//
// Contract: in a process with a running Reaper every child is started with
// Start (Server does so when its Reaper is set), and who started one calls Wait
// soon: a dead child that nobody waits for holds up the orphans behind it. A
// nil Reaper starts and waits and collects nobody.
//
// It looks at a dead child before taking it (WNOWAIT), under the lock that also
// covers the fork: so no child can be seen before it is known.
type Reaper struct {
	mu  sync.Mutex
	own map[int]chan struct{} // guarded by mu; closed when the child was collected
}

// Start is cmd.Start.
func (r *Reaper) Start(cmd *exec.Cmd) error {
	if r == nil {
		return cmd.Start()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	if r.own == nil {
		r.own = map[int]chan struct{}{}
	}
	r.own[cmd.Process.Pid] = make(chan struct{})
	return nil
}

// Wait is cmd.Wait for a command of Start.
func (r *Reaper) Wait(cmd *exec.Cmd) error {
	if r == nil {
		return cmd.Wait()
	}
	err := cmd.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if collected, ok := r.own[cmd.Process.Pid]; ok {
		close(collected)
		delete(r.own, cmd.Process.Pid)
	}
	return err
}

// Run collects orphans until ctx ends.
func (r *Reaper) Run(ctx context.Context) {
	deaths := make(chan os.Signal, 1)
	signal.Notify(deaths, unix.SIGCHLD)
	defer signal.Stop(deaths)
	for {
		r.sweep(ctx)
		select {
		case <-ctx.Done():
			return
		case <-deaths:
		}
	}
}

// sweep collects all orphans that are dead now.
func (r *Reaper) sweep(ctx context.Context) {
	for {
		pid := deadChild()
		if pid == 0 {
			return
		}
		r.mu.Lock()
		collected, own := r.own[pid]
		if !own {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
		r.mu.Unlock()
		if own {
			select {
			case <-collected:
			case <-ctx.Done():
				return
			}
		}
	}
}

// deadChild names a child that is dead and not collected yet; 0 for none.
func deadChild() int {
	var info unix.Siginfo
	if err := waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT); err != nil {
		return 0
	}
	// The part of siginfo_t that x/sys has no name for.
	child := (*struct {
		_   [3]int32
		_   [0]uintptr // the union that pid is in is aligned like a pointer
		pid int32
	})(unsafe.Pointer(&info))
	return int(child.pid)
}

// awaitEnd waits until the child is dead and leaves it to be collected. It is
// false when that cannot be known.
func awaitEnd(pid int) bool {
	return waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT) == nil
}

func waitid(kind, id int, info *unix.Siginfo, options int) error {
	for {
		err := unix.Waitid(kind, id, info, options, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
