package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

// probeAddress lies in the range of members' addresses (127.0.64.0 to
// 127.0.127.255), at its end, where few members are.
const probeAddress = "127.0.127.254"

// wantedFiles is how many open files the agent should be allowed: two for each
// forwarded connection.
const wantedFiles = 1024

// machine are the checks of this machine.
func (e *examination) machine() []check {
	checks := []check{
		{code: "home", run: e.homeIsPrivate, fix: e.makeHomePrivate},
		{code: "home-writable", run: e.homeHasRoom},
		{code: "addresses", run: e.addressesBindable},
		{code: "open-files", run: e.enoughFiles},
		{code: "openssh", run: e.sshPresent},
		{code: "git", run: e.gitPresent},
	}
	for _, d := range e.Providers {
		if e.request.Provider == "" || e.request.Provider == d.Name {
			checks = append(checks, check{code: "provider", subject: d.Name, run: func(ctx context.Context) Result { return e.providerReady(ctx, d) }})
		}
	}
	return checks
}

func (e *examination) homeIsPrivate(context.Context) Result {
	home := e.Store.Path()
	info, err := os.Stat(home)
	if err != nil {
		return fail(err.Error(), "Set CRABBOX_HOME to a folder of your own.")
	}
	if wide := info.Mode().Perm() & 0o077; wide != 0 && runtime.GOOS != "windows" {
		return fail(fmt.Sprintf("%s can be read by others (mode %04o)", home, info.Mode().Perm()), "chmod 700 "+home)
	}
	return ok(home + " is yours alone")
}

// homeHasRoom is a check of its own, since nothing safe mends a full disk.
func (e *examination) homeHasRoom(context.Context) Result {
	home := e.Store.Path()
	if err := writable(home); err != nil {
		return fail(home+" cannot be written to: "+err.Error(), "Free some space on its disk or make it writable, or set CRABBOX_HOME to another folder of your own.")
	}
	return ok("state can be written")
}

// writable proves by writing: a full disk lets files be made and not filled.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".doctor-*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 4096))
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

func (e *examination) makeHomePrivate(context.Context) (string, error) {
	return "made it private", os.Chmod(e.Store.Path(), 0o700)
}

// addressesBindable tries the real thing: it listens on an address of the range.
func (e *examination) addressesBindable(ctx context.Context) Result {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(probeAddress, "0"))
	if err != nil {
		return warn("members cannot have addresses of their own here ("+err.Error()+"); ports of 127.0.0.1 stand in",
			"On macOS: sudo ifconfig lo0 alias "+probeAddress+", likewise for the addresses that crabbox crew peers shows.")
	}
	l.Close()
	return ok("members can have addresses of their own out of 127.0.64.0 to 127.0.127.255")
}

func (e *examination) enoughFiles(context.Context) Result {
	limit, known := openFiles()
	switch {
	case !known:
		return ok("this system has no small limit on open files")
	case limit < wantedFiles:
		return warn(fmt.Sprintf("a process may open only %d files; each forwarded connection takes two", limit), "Raise it: ulimit -n 4096")
	}
	return ok(fmt.Sprintf("a process may open %d files", limit))
}

func (e *examination) sshPresent(ctx context.Context) Result {
	path, err := exec.LookPath("ssh")
	if err != nil {
		return warn("OpenSSH is not installed; only a part of ~/.ssh/config is understood", "Install OpenSSH's client if you use hosts of your ssh_config.")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	version, err := exec.CommandContext(ctx, path, "-V").CombinedOutput()
	if err != nil {
		return warn(path+" does not run: "+err.Error(), "Install OpenSSH's client anew.")
	}
	return ok(strings.TrimSpace(string(version)))
}

func (e *examination) gitPresent(context.Context) Result {
	path, err := exec.LookPath("git")
	if err != nil {
		return warn("git is not installed; crabbox run can take no working tree along", "Install git, or use crabbox run --no-sync.")
	}
	return ok(path)
}

func (e *examination) providerReady(ctx context.Context, d provider.Descriptor) Result {
	settings, err := e.Config.Settings(d)
	if err != nil {
		return fail(err.Error(), fault.RemedyOf(err))
	}
	if d.Ready == nil {
		return ok("ready")
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	note, err := d.Ready(ctx, settings)
	switch {
	case err != nil && e.request.Provider == d.Name:
		return fail(err.Error(), fault.RemedyOf(err))
	case err != nil:
		return warn(err.Error(), fault.RemedyOf(err))
	case note != "":
		return warn("ready, but: "+note, "")
	}
	return ok("ready")
}

// isOld tells whether a file was last changed before the given age.
func isOld(info fs.FileInfo, age time.Duration) bool { return time.Since(info.ModTime()) > age }
