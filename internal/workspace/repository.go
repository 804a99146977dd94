package workspace

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"crabbox/internal/fault"
)

// repository is a git working tree on this machine.
type repository struct {
	top   string // absolute path of its root
	below string // the folder that was asked for, relative to top, with slashes; "." for top
}

// find returns the repository that a folder belongs to.
func find(ctx context.Context, folder string) (repository, error) {
	top, err := git(ctx, folder, "rev-parse", "--show-toplevel")
	if err != nil {
		return repository{}, err
	}
	prefix, err := git(ctx, folder, "rev-parse", "--show-prefix")
	if err != nil {
		return repository{}, err
	}
	return repository{
		top:   filepath.FromSlash(strings.TrimSuffix(string(top), "\n")),
		below: path.Clean(strings.TrimSuffix(string(prefix), "\n")),
	}, nil
}

// list returns the paths, with slashes and relative to dir, of the files that
// git tracks or does not ignore. Submodules and repositories within are listed
// as folders. Some of the files may not exist.
func list(ctx context.Context, dir string) ([]string, error) {
	out, err := git(ctx, dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	var paths []string
	for p := range strings.SplitSeq(string(out), "\x00") {
		if p = strings.TrimSuffix(p, "/"); p != "" {
			paths = append(paths, p)
		}
	}
	return paths, nil
}

// programs says which tracked files are programs, where the disk cannot tell
// (Windows) and git therefore goes by its index; nil where the disk can.
func programs(ctx context.Context, dir string) (map[string]bool, error) {
	disk, err := git(ctx, dir, "config", "--bool", "--default", "true", "core.fileMode")
	if err != nil || string(disk) != "false\n" {
		return nil, err
	}
	out, err := git(ctx, dir, "ls-files", "-z", "--stage")
	if err != nil {
		return nil, err
	}
	runs := map[string]bool{}
	for entry := range strings.SplitSeq(string(out), "\x00") {
		if info, name, ok := strings.Cut(entry, "\t"); ok {
			runs[name] = strings.HasPrefix(info, "100755 ")
		}
	}
	return runs, nil
}

// git runs git in a folder. The folder alone says which repository is meant,
// whatever a hook that we run under has set.
func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR"}, name)
	})
	cmd.Env = append(cmd.Env, "GIT_OPTIONAL_LOCKS=0")
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	err := cmd.Run()
	switch {
	case err == nil:
		return out.Bytes(), nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return nil, fault.New(fault.Failed, "Install git, or leave the tree at home with --no-sync.", "git is not installed: %w", err)
	}
	return nil, fault.New(fault.Usage, "Change to a git repository, or leave the tree at home with --no-sync.",
		"git cannot read a working tree at %s (%s): %w", dir, firstLine(talk.String()), err)
}

// firstLine is the first line of what a program said, safe to print.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 || r == 0xfffd {
			return '?'
		}
		return r
	}, line)
}
