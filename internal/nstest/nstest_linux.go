package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

var users = sync.OnceValue(func() error { return try(unix.CLONE_NEWUSER) })

var network = sync.OnceValue(func() error {
	if os.Getuid() == 0 {
		return try(0)
	}
	return try(unix.CLONE_NEWUSER)
})

// try starts a program in new namespaces. Making them proves little: some
// systems allow a user namespace and then none of its capabilities. The mount
// namespace is therefore made in a second step, inside, which needs one, and
// os/exec makes its mounts private, which needs it as well.
func try(kinds uintptr) error {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: kinds | unix.CLONE_NEWNET, Unshareflags: unix.CLONE_NEWNS}
	if kinds&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("no namespaces for this user (scripts/test-tools says what allows them): %w", err)
	}
	return nil
}
