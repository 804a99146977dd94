package local

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// view is the box's picture of the system while it is being made, in mount and
// user namespaces of its own. The host's tree stays where it is, all of it
// made read-only, and the box's own folders are mounted over it. To uncover
// what lies below, a process would need a capability in this user namespace,
// and nothing in the box has one (see drop); in a user namespace made inside
// the box, the kernel locks these mounts together.
type view struct {
	life life
	dir  string // the box's folder on the host
	// kept are parts of the host's tree, taken out of it while it could still
	// be written: detached mounts, by the path where they go.
	kept map[string]int
}

// devices of the host that a box has; there are no others.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}

// build makes the view.
func (v *view) build() error {
	steps := []struct {
		what string
		do   func() error
	}{
		{"keep mounts private", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"keep the box's own folders", v.keep},
		{"make the system read-only", readOnly},
		{"mount /run", v.mountRun},
		{"mount /dev", v.mountDev},
		{"mount /proc", mountProc},
		{"set up the network", v.network},
		{"hide other homes", v.hide},
		{"put the box's own folders in place", v.place},
		{"name the box", func() error { return unix.Sethostname([]byte(v.life.Hostname)) }},
		{"seal /proc", sealProc},
		{"hide the system's secrets", hideSecrets},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// keep takes what stays writable, or must not carry the flags that the rest
// will get, out of the host's tree.
func (v *view) keep() error {
	v.kept = map[string]int{}
	from := map[string]string{
		v.life.Home:    filepath.Join(v.dir, dirHome),
		"/tmp":         filepath.Join(v.dir, dirTmp),
		"/var/tmp":     filepath.Join(v.dir, dirVarTmp),
		ExecutablePath: "/proc/self/exe",
	}
	for _, device := range devices {
		from[device] = device
	}
	for target, source := range from {
		fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		v.kept[target] = fd
	}
	return nil
}

// put mounts at path what was kept for it; path must exist. What is read-only
// there can also not be renamed, relabelled or given other modes.
func (v *view) put(path string) error {
	fd := v.kept[path]
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return unix.Close(fd)
}

// putFile is put for one file of the host, which the box may use but not
// change: not its content, and not its mode either, were it the owner's.
func (v *view) putFile(path string) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	if err := v.put(path); err != nil {
		return err
	}
	return remountReadOnly(path, 0)
}

// remountReadOnly makes one mount read-only and free of set-uid programs. Flags
// that it has from the host are locked and have to be repeated.
func remountReadOnly(path string, flags uintptr) error {
	var now unix.Statfs_t
	if err := unix.Statfs(path, &now); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	flags |= uintptr(now.Flags) & (unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME)
	if now.Flags&stRelatime != 0 {
		flags |= unix.MS_RELATIME
	}
	if err := unix.Mount("", path, "", flags|unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID, ""); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// stRelatime is the one flag of statfs that differs from mount's (ST_RELATIME).
const stRelatime = 0x1000

const viewFlags = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV

// readOnly makes every mount of the tree read-only and its device nodes dead.
func readOnly() error {
	attr := unix.MountAttr{Attr_set: viewFlags}
	err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &attr)
	if err == unix.ENOSYS { // before Linux 5.12
		return readOnlyEach()
	}
	return err
}

// readOnlyEach does what readOnly does one mount at a time.
func readOnlyEach() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 6 {
			continue
		}
		path := unescape(fields[4])
		if _, err := os.Lstat(path); err != nil {
			continue // below another mount, so nobody gets there
		}
		if err := remountReadOnly(path, unix.MS_NODEV); err != nil {
			return err
		}
	}
	return nil
}

// unescape reads a path of mountinfo, where white space and backslashes are
// written in octal.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// mountRun gives the box a /run of its own, with what crabbox puts there.
func (v *view) mountRun() error {
	resolver, err := v.resolver()
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	for dir, mode := range map[string]os.FileMode{runDir: 0o755, "/run/lock": os.ModeSticky | 0o777} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(dir, mode); err != nil {
			return err
		}
	}
	if err := resolver.write(); err != nil {
		return err
	}
	if err := v.putFile(ExecutablePath); err != nil {
		return err
	}
	return v.mountHosts()
}

// mountHosts gives the box a hosts file of its own, which it may change.
func (v *view) mountHosts() error {
	hosts := runDir + "/hosts"
	lines := "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.0.1 " + v.life.Hostname + "\n"
	if err := os.WriteFile(hosts, []byte(lines), 0o644); err != nil {
		return err
	}
	err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, "")
	if err == unix.ENOENT {
		return nil // the host has none, and its /etc is not ours to change
	}
	return err
}

// resolver is the host's resolv.conf where it lies below /run and would be
// hidden although the box shares the host's network.
type resolver struct {
	path string
	data []byte
}

func (v *view) resolver() (resolver, error) {
	if v.life.Network != networkHost {
		return resolver{}, nil
	}
	path, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil || !within(path, []string{"/run"}) {
		return resolver{}, nil
	}
	data, err := os.ReadFile(path)
	return resolver{path, data}, err
}

func (r resolver) write() error {
	if r.path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(r.path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(r.path, r.data, 0o644)
}

// mountDev gives the box a /dev with harmless devices, terminals of its own
// and shared memory. It is put together on /run and moved when it is complete.
func (v *view) mountDev() error {
	const stage = "/run/dev"
	if err := os.Mkdir(stage, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", stage, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755"); err != nil {
		return err
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"} {
		if err := os.Symlink(target, filepath.Join(stage, name)); err != nil {
			return err
		}
	}
	for name, mount := range map[string]struct{ kind, options string }{
		"pts": {"devpts", "newinstance,ptmxmode=0666,mode=0620"},
		"shm": {"tmpfs", "mode=1777"},
	} {
		path := filepath.Join(stage, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(mount.kind, path, mount.kind, unix.MS_NOSUID|unix.MS_NOEXEC, mount.options); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := unix.Mount(stage, "/dev", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	for _, device := range devices {
		if err := v.putFile(device); err != nil {
			return err
		}
	}
	return os.Remove(stage)
}

func mountProc() error {
	return unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// hide covers the folders that are nobody's business with empty ones.
func (v *view) hide() error {
	var covered []string
	for _, dir := range v.life.Hidden {
		if within(dir, covered) || within(dir, ownDirs) || within(dir, []string{v.life.Home}) {
			continue
		}
		err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=64k")
		if err == unix.ENOENT || err == unix.EACCES {
			continue // gone meanwhile, or out of the box's reach as well
		}
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		covered = append(covered, dir)
	}
	if err := os.MkdirAll(v.life.Home, 0o755); err != nil {
		return err
	}
	for _, dir := range covered {
		if err := remountReadOnly(dir, unix.MS_NODEV); err != nil {
			return err
		}
	}
	return nil
}

// place mounts the folders that the box may write.
func (v *view) place() error {
	for _, dir := range []string{"/tmp", "/var/tmp", v.life.Home} {
		info, err := os.Lstat(dir)
		if err == nil && info.Mode()&fs.ModeSymlink != 0 || os.IsNotExist(err) {
			continue // a link to a folder that is the box's own, or no such folder
		}
		if err != nil {
			return err
		}
		if err := v.put(dir); err != nil {
			return err
		}
	}
	return nil
}
