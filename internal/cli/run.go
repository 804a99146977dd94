package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"crabbox/internal/crew"
	"crabbox/internal/fault"
	"crabbox/internal/session"
	"crabbox/internal/store"
	"crabbox/internal/workspace"
)

type runOptions struct {
	order  crew.Order
	id     string // run on this lease instead of a fresh one
	noSync bool
	keep   bool
	env    map[string]string
	words  []string
}

func (a *app) runCommand() *cobra.Command {
	var flags orderFlags
	var o runOptions
	var env []string
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND...",
		Short: "Run a command on a box, with your working tree, and release the box",
		Long: `Run a command on a fresh box (or with --id on one that is leased already), in a
copy of the git working tree around the current folder. The command's exit code
becomes this program's.

The copy is in ~/crabbox on the box. It ends with a box that is released; on a
host of provider ssh it stays, and the next run sends only what has changed.

COMMAND given as one word is a line for the box's shell; several words reach the
command exactly as they are.`,
		Example: `  crabbox run -- make test
  crabbox run --id web --env TOKEN -- ./deploy.sh`,
		Args: between(1, -1, "the command"),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := a.openRestored(cmd.Context())
			if err != nil {
				return err
			}
			if err := notEmpty(cmd, "id"); err != nil {
				return err
			}
			if err := onlyWithout(cmd, "id", "expose", "slug", "crew", "role", "label", "option", "provider", "ttl", "size", "image", "region"); err != nil {
				return err
			}
			if o.order, err = flags.order(cmd, h); err != nil {
				return err
			}
			if o.env, err = a.environment(env); err != nil {
				return err
			}
			o.words = args
			return a.run(cmd.Context(), h, o)
		},
	}
	a.addOrderFlags(cmd, &flags)
	f := cmd.Flags()
	f.StringVar(&o.id, "id", "", "run on this lease (id or slug) and keep it")
	f.BoolVar(&o.noSync, "no-sync", false, "do not take the working tree along")
	f.BoolVar(&o.keep, "keep", false, "do not release the box afterwards")
	f.StringArrayVarP(&env, "env", "e", nil, "an environment variable, KEY=VALUE or KEY for its value here (repeatable)")
	a.completeFlags(cmd)
	a.jsonFlag(cmd, "report failures as JSON")
	return cmd
}

// onlyWithout refuses flags that describe a new box together with one that
// names a box which exists.
func onlyWithout(cmd *cobra.Command, existing string, describing ...string) error {
	if !cmd.Flags().Changed(existing) {
		return nil
	}
	for _, name := range describing {
		if cmd.Flags().Changed(name) {
			return fault.New(fault.Usage, "Lease a box of that kind with crabbox warmup --"+name+" ..., then run --id on it.", "--%s describes a new box, and --%s names one that exists", name, existing)
		}
	}
	return nil
}

// environment reads --env: KEY=VALUE, or KEY for the value it has here.
func (a *app) environment(args []string) (map[string]string, error) {
	env := map[string]string{}
	for _, arg := range args {
		name, value, given := strings.Cut(arg, "=")
		if !isVariable(name) {
			return nil, fault.New(fault.Usage, "Write it as --env KEY=VALUE, or --env KEY for the value it has here.", "--env: %q is not the name of a variable", name)
		}
		if !given {
			if value = a.io.Getenv(name); value == "" {
				a.out.warn("--env %s: it is not set here, so the command gets it empty", name)
			}
		}
		env[name] = value
	}
	return env, nil
}

// isVariable tells whether a POSIX shell takes name as a variable's name.
func isVariable(name string) bool {
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

func (a *app) run(ctx context.Context, h *home, o runOptions) (err error) {
	if !o.noSync {
		if err := a.checkRepository(); err != nil {
			return err
		}
	}
	l, err := a.boxForRun(ctx, h, o)
	if err != nil {
		return err
	}
	if o.id == "" && !o.keep {
		defer func() { err = a.releaseAfterRun(ctx, h, l, err) }()
	}
	c, err := a.connect(ctx, h, l)
	if err != nil {
		return err
	}
	defer c.Close()
	command := session.Command{Line: shellLine(o.words), Env: o.env}
	if !o.noSync {
		if command.Dir, err = a.sync(ctx, c); err != nil {
			return err
		}
	}
	return a.execute(ctx, c, command)
}

// checkRepository refuses a run that would only find out after a box was
// leased that there is no working tree to take along. Package workspace has
// the last word; this looks for what git looks for first.
func (a *app) checkRepository() error {
	dir, err := os.Getwd()
	if err != nil || a.io.Getenv("GIT_DIR") != "" {
		return err
	}
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return fault.New(fault.Usage, "Run it inside a git repository, or add --no-sync to take no files along.", "there is no git working tree around the current folder")
		}
		dir = parent
	}
}

func (a *app) boxForRun(ctx context.Context, h *home, o runOptions) (store.Lease, error) {
	if o.id != "" {
		return h.keeper.Find(ctx, o.id)
	}
	l, err := a.lease(ctx, h, o.order)
	if err == nil && o.keep {
		a.out.say("%s (%s) is kept: crabbox release %s ends it", l.Box.Slug, string(l.Box.ID), l.Box.Slug)
	}
	return l, err
}

func (a *app) sync(ctx context.Context, c *ssh.Client) (dir string, err error) {
	start := time.Now()
	r, err := workspace.Sync(ctx, c, ".", a.out.progress)
	if err != nil {
		return "", err
	}
	a.out.progress(cleaned("synced %d files (%s), %d unchanged, %d deleted, in %s", r.Sent, size(uint64(r.Bytes)), r.Unchanged, r.Deleted, time.Since(start).Round(time.Millisecond)))
	return r.Work, nil
}

// releaseAfterRun ends the lease that run made, also after Ctrl-C. The
// command's own failure is told first and decides the exit code.
func (a *app) releaseAfterRun(ctx context.Context, h *home, l store.Lease, err error) error {
	a.out.progress("releasing " + l.Box.Slug)
	released := a.releaseOne(ctx, h, l)
	a.leasesChanged(ctx, h)
	if released == nil {
		return err
	}
	left := fault.New(fault.KindOf(released), "crabbox release "+string(l.Box.ID)+" tries again.", "%s (%s) was not released: %w", l.Box.Slug, l.Box.ID, released)
	if err == nil {
		return left
	}
	a.out.warn("%v", left)
	a.out.advise(left.Remedy)
	var ended commandEnded
	if errors.As(err, &ended) {
		return ended
	}
	return err
}
