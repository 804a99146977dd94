//go:build linux

package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"crabbox/internal/provider"
)

// helperWord makes this binary a small tool, which tests run in boxes (where
// EnvExecutable leads to it) and beside them.
const helperWord = "__helper"

func helper(word string, args []string) int {
	var err error
	switch word {
	case "serve": // addresses: says the host's name to whoever connects
		err = helperServe(args)
	case "syscall": // what: tries something that a box must not be able to do
		err = forbidden[args[0]](args[1:])
	case "launch": // reads a provider's settings and a request, creates, and stays
		err = helperLaunch()
	case "readonly": // in fresh namespaces: the way of old kernels
		if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err == nil {
			err = readOnlyEach()
		}
		if err == nil {
			var mounts []byte
			mounts, err = os.ReadFile("/proc/self/mountinfo")
			fmt.Print(string(mounts))
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func helperServe(addresses []string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(c, name)
				c.Close()
			}
		}()
	}
	fmt.Println("listening")
	select {}
}

// forbidden are ways out of a read-only system, by name.
var forbidden = map[string]func(args []string) error{
	"remount": func(args []string) error {
		return unix.Mount("", args[0], "", unix.MS_REMOUNT|unix.MS_BIND, "")
	},
	"superblock": func(args []string) error { return unix.Mount("", args[0], "", unix.MS_REMOUNT, "") },
	"setattr": func(args []string) error {
		return unix.MountSetattr(unix.AT_FDCWD, args[0], 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
	},
	"tmpfs":  func(args []string) error { return unix.Mount("tmpfs", args[0], "tmpfs", 0, "") },
	"umount": func(args []string) error { return unix.Unmount(args[0], unix.MNT_DETACH) },
	"mknod": func(args []string) error {
		return unix.Mknod(args[0], unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0)))
	},
	"chroot": func(args []string) error { return unix.Chroot(args[0]) },
	"chmod":  func(args []string) error { return unix.Chmod(args[0], 0o777) },
	"write": func(args []string) error {
		f, err := os.OpenFile(args[0], os.O_WRONLY, 0)
		if err == nil {
			err = f.Close()
		}
		return err
	},
	"create":   func(args []string) error { return os.Mkdir(filepath.Join(args[0], "cbx-escape"), 0o700) },
	"ptrace":   func([]string) error { return unix.PtraceAttach(1) },
	"truncate": func(args []string) error { return unix.Truncate(args[0], 0) },
	// In a user namespace of one's own one has every capability, but what was
	// mounted before is locked.
	"userns": func(args []string) error {
		cmd := exec.Command("/proc/self/exe", append([]string{helperWord, "syscall"}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		}
		out, err := cmd.Output()
		if len(out) > 0 {
			return errors.New(strings.TrimSpace(string(out)))
		}
		return err
	},
}

// launchOrder is what the test tells a launcher that it is going to kill.
type launchOrder struct {
	Dir, Home  string
	Executable string
	Options    provider.Options
	Request    provider.Request
}

func helperLaunch() error {
	var o launchOrder
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return err
	}
	o.Request.Progress = func(string) {}
	p, err := New(provider.Settings{Options: o.Options, Dir: o.Dir, UserHome: o.Home, Executable: o.Executable, Getenv: os.Getenv})
	if err != nil {
		return err
	}
	if _, err := p.Create(context.Background(), o.Request); err != nil {
		return err
	}
	fmt.Println("created")
	select {}
}

// processesOf lists the host's processes whose command line holds mark.
func processesOf(mark string) []string {
	var found []string
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if words := strings.ReplaceAll(string(line), "\x00", " "); err == nil && strings.Contains(words, mark) {
			found = append(found, filepath.Base(filepath.Dir(path))+" "+words)
		}
	}
	return found
}
