package doctor

import (
	"context"
	"errors"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

// What helps a port that cannot be used, whoever found out.
const (
	startService    = "Start the service on the box, listening on localhost or on all addresses."
	allowForwarding = "Allow it in the box's sshd_config: AllowTcpForwarding yes, PermitOpen any."
)

// Probe opens a channel to a TCP port of the box and closes it again. The error
// says why the port is not usable.
func Probe(ctx context.Context, c *ssh.Client, port box.Port) error {
	conn, err := c.DialContext(ctx, "tcp", port.Target())
	if err == nil {
		conn.Close()
		return nil
	}
	if refused, ok := errors.AsType[*ssh.OpenChannelError](err); ok {
		if refused.Reason == ssh.Prohibited {
			return fault.New(fault.Failed, allowForwarding, "the box's SSH server forbids forwarding: %w", err)
		}
		return fault.New(fault.Failed, startService, "nothing listens there: %w", err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.New(fault.Timeout, "Look at the box: something swallows connections to that port.", "no answer: %w", err)
	}
	return err
}
