package local

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// What of the operator's world a box may see, decided by the launcher, who can
// still see all of it.

// standardPath is what every system has.
const standardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// runDir is where isolated boxes have files of ours: on their own /run.
const runDir = "/run/crabbox"

// ExecutablePath is where an isolated box finds this executable. In any box
// the variable EnvExecutable says where it is.
const ExecutablePath = runDir + "/crabbox"

// inside says how life is in an isolated box.
func (p person) inside(l *life) {
	l.Hidden = p.hidden()
	l.Home = p.homeInside()
	l.Executable = ExecutablePath
	if real, err := filepath.EvalSymlinks(l.Shell); err != nil || within(real, l.Hidden) {
		l.Shell = "/bin/sh"
	}
	var path []string
	for _, dir := range append(p.path, filepath.SplitList(standardPath)...) {
		if filepath.IsAbs(dir) && !slices.Contains(path, dir) && !within(dir, l.Hidden) && !within(dir, ownDirs) {
			path = append(path, dir)
		}
	}
	l.Env = p.env(l, path)
}

// beside says how life is in a process box whose folder is dir.
func (p person) beside(l *life, dir, executable string) {
	l.Home = filepath.Join(dir, dirHome)
	l.Executable = executable
	tmp := filepath.Join(dir, dirTmp)
	l.Env = append(p.env(l, p.path), "TMPDIR="+tmp, "TMP="+tmp, "TEMP="+tmp)
}

func (p person) env(l *life, path []string) []string {
	env := []string{EnvExecutable + "=" + l.Executable}
	if len(path) > 0 {
		env = append(env, "PATH="+strings.Join(path, string(filepath.ListSeparator)))
	}
	if p.lang != "" {
		env = append(env, "LANG="+p.lang)
	}
	if p.zone != "" {
		env = append(env, "TZ="+p.zone)
	}
	return env
}

// ownDirs are the box's own anyway, whatever the host has there.
var ownDirs = []string{"/tmp", "/var/tmp", "/run", "/dev", "/proc"}

// systemDirs are never hidden, and nothing that holds one of them is.
var systemDirs = []string{"/bin", "/sbin", "/lib", "/usr", "/etc", "/dev", "/proc", "/sys", "/run", "/tmp", "/var/lib", "/var/tmp", "/opt"}

// hidden lists the folders that a box must not look into: everybody's homes
// and crabbox's own files. Each is there by the name that the operator knows
// and, where links lead elsewhere, by its real name.
func (p person) hidden() []string {
	wanted := append([]string{"/home", "/root", p.crab}, p.homes...)
	wanted = append(wanted, loginHomes()...)
	var dirs []string
	for _, dir := range wanted {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			continue // not there, or not for us either
		}
		for _, d := range []string{filepath.Clean(dir), real} {
			if hideable(d) && !slices.Contains(dirs, d) {
				dirs = append(dirs, d)
			}
		}
	}
	slices.Sort(dirs) // parents first
	return slices.Compact(slices.DeleteFunc(dirs, func(d string) bool { return isLink(d) }))
}

func hideable(dir string) bool {
	if !filepath.IsAbs(dir) || dir == "/" {
		return false
	}
	return !slices.ContainsFunc(systemDirs, func(s string) bool { return within(s, []string{dir}) })
}

// homeInside is where a box has its home folder: where the operator has theirs,
// so that ~, $HOME and the passwd file agree, if a folder of one's own is there.
func (p person) homeInside() string {
	for _, home := range p.homes {
		real, err := filepath.EvalSymlinks(home)
		if err == nil && real == filepath.Clean(home) && hideable(real) && !within(real, ownDirs) && owned(real) {
			return real
		}
	}
	return runDir + "/home"
}

// loginHomes are the home folders of the people in the passwd file.
func loginHomes() []string {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return nil
	}
	defer f.Close()
	var homes []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Split(lines.Text(), ":"); len(fields) == 7 && isPerson(fields[2]) {
			homes = append(homes, fields[5])
		}
	}
	return homes
}

// isPerson tells the user ids of people from the system's.
func isPerson(uid string) bool {
	n, err := strconv.Atoi(uid)
	return err == nil && n >= 1000 && n < 60000
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err != nil || info.Mode()&os.ModeSymlink != 0
}

// within tells whether path is one of dirs or below one.
func within(path string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
	})
}
