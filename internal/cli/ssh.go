package cli

import (
	"context"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"crabbox/internal/session"
)

func (a *app) sshCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ssh [flags] LEASE [-- COMMAND...]",
		Short: "Log in to a box, or run one command on it",
		Long: `Log in to a box, or run one command on it and pass its exit code on.

COMMAND given as one word is a line for the box's shell; several words reach the
command exactly as they are.`,
		Args:              between(1, -1, "a lease"),
		ValidArgsFunction: a.completeFirstLease,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ssh(cmd.Context(), args[0], args[1:])
		},
	}
}

func (a *app) ssh(ctx context.Context, ref string, words []string) error {
	h, err := a.openRestored(ctx)
	if err != nil {
		return err
	}
	l, err := h.keeper.Find(ctx, ref)
	if err != nil {
		return err
	}
	c, err := a.connect(ctx, h, l)
	if err != nil {
		return err
	}
	defer c.Close()
	return a.execute(ctx, c, session.Command{Line: shellLine(words)})
}

// shellLine makes the line for the box's shell: one word is a line as it
// stands, several are quoted.
func shellLine(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return session.Quote(words...)
}

// execute runs a command with this program's streams, signals and, where stdin
// and stdout are terminals, a terminal. The command's exit code becomes ours.
func (a *app) execute(ctx context.Context, c *ssh.Client, cmd session.Command) error {
	signals, release := a.signals.take()
	defer release()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.io.In, a.io.Out, a.io.Err
	cmd.Terminal = isTerminal(a.io.In) && isTerminal(a.io.Out)
	cmd.Signals = signals
	code, err := session.Run(ctx, c, cmd)
	if err != nil {
		return err
	}
	return ended(code)
}
