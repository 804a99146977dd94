package cli

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/spf13/cobra"

	"crabbox/internal/agent"
)

// agentCommand holds what people rarely type: the agent starts and stops by
// itself, and ssh_config files call the stream.
func (a *app) agentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:    "agent",
		Short:  "The background process that holds the connections",
		Hidden: true,
		Args:   cobra.ArbitraryArgs,
		RunE:   onlySubcommands,
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "run",
			Short: "Be the agent",
			Args:  between(0, 0, ""),
			RunE:  func(cmd *cobra.Command, _ []string) error { return a.agentRun(cmd.Context()) },
		},
		&cobra.Command{
			Use:   "stop",
			Short: "End the agent; crews that are wanted come back with the next one",
			Args:  between(0, 0, ""),
			RunE:  func(cmd *cobra.Command, _ []string) error { return a.agentStop(cmd.Context()) },
		},
		&cobra.Command{
			Use:               "stream LEASE",
			Short:             "Carry stdin and stdout to a box's SSH server, as a ProxyCommand",
			Args:              between(1, 1, "a lease"),
			ValidArgsFunction: a.completeLeases,
			RunE:              func(cmd *cobra.Command, args []string) error { return a.agentStream(cmd.Context(), args[0]) },
		},
	)
	return cmd
}

// agentRun is the agent's life. Nobody can be asked anything there.
func (a *app) agentRun(ctx context.Context) error {
	h, err := a.open()
	if err != nil {
		return err
	}
	h.login.Ask = nil
	h.login.FirstContact = nil
	err = agent.Run(ctx, agent.Options{Keeper: h.keeper, Version: a.version, IdleStop: h.config.AgentIdle, Executable: a.io.Executable})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (a *app) agentStop(ctx context.Context) error {
	h, err := a.open()
	if err != nil {
		return err
	}
	c, err := a.runningAgent(ctx, h)
	if err != nil || c == nil {
		return err
	}
	return c.Stop(ctx)
}

// agentStream is what ssh_config files name as ProxyCommand: OpenSSH logs in
// over it, so it dials and does not log in itself.
func (a *app) agentStream(ctx context.Context, ref string) error {
	h, err := a.open()
	if err != nil {
		return err
	}
	l, err := h.keeper.Find(ctx, ref)
	if err != nil {
		return err
	}
	dialing, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	if l, err = h.keeper.Refresh(dialing, l); err != nil {
		return err
	}
	target, err := h.keeper.Target(l)
	if err != nil {
		return err
	}
	conn, _, err := h.login.Dial(dialing, target)
	if err != nil {
		return err
	}
	return carry(ctx, conn, a.io.In, a.io.Out)
}

// carry copies both ways until the box ends the stream. The read of stdin
// cannot be interrupted; it ends with the program.
func carry(ctx context.Context, conn net.Conn, in io.Reader, out io.Writer) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	go func() {
		_, err := io.Copy(conn, in)
		if half, ok := conn.(interface{ CloseWrite() error }); ok && err == nil {
			half.CloseWrite()
		} else {
			conn.Close()
		}
	}()
	defer conn.Close()
	_, err := io.Copy(out, conn)
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return nil // OpenSSH ends its ProxyCommand by closing stdin or with a signal
	}
	return err
}
