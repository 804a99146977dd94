package local

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// network switches the box's own loopback on and opens the ports below 1024.
func (v *view) network() error {
	if v.life.Network == networkHost {
		return nil
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		return err
	}
	err = os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
	if os.IsNotExist(err) { // before Linux 4.11, or a system without IPv4
		return nil
	}
	return err
}

// sealProc matters where the operator is root. A box's uid 0 is then the uid 0
// that owns the kernel's switches in /proc, and owning is enough to write many
// of them; so whatever can be written there is covered, read-only. User
// namespaces inside the box are switched off as well: in one, uid 0 would
// have the capabilities to mount things anew.
func sealProc() error {
	if os.Geteuid() != 0 {
		return nil
	}
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		return err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil || e.Type()&os.ModeSymlink != 0 {
			continue // processes are the box's own
		}
		info, err := e.Info()
		if err != nil || !e.IsDir() && info.Mode()&0o222 == 0 {
			continue
		}
		path := filepath.Join("/proc", e.Name())
		if err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := remountReadOnly(path, unix.MS_NODEV|unix.MS_NOEXEC); err != nil {
			return err
		}
	}
	return nil
}

// hideSecrets covers what only root can read, and so a box of root could.
func hideSecrets() error {
	if os.Geteuid() != 0 {
		return nil
	}
	secrets := []string{"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-"}
	keys, _ := filepath.Glob("/etc/ssh/ssh_host_*_key")
	for _, file := range append(secrets, keys...) {
		if err := unix.Mount("/dev/null", file, "", unix.MS_BIND, ""); err != nil && err != unix.ENOENT {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	err := unix.Mount("tmpfs", "/etc/ssl/private", "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "size=64k")
	if err == unix.ENOENT {
		return nil
	}
	return err
}
