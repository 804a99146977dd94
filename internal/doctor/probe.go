package doctor

import (
	"context"
	"errors"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

// Reach is what a caller of a port on a box would meet.
type Reach string

// The outcomes of Probe.
const (
	Usable     Reach = "usable"
	NoTarget   Reach = "refused"    // nothing listens there
	Prohibited Reach = "prohibited" // the SSH server forbids it
	Unknown    Reach = "unknown"    // no answer in time, or the connection was lost
)

// Probe opens a channel to a TCP port of the box and closes it again. The error
// says why the port is not Usable.
func Probe(ctx context.Context, c *ssh.Client, port box.Port) (Reach, error) {
	conn, err := c.DialContext(ctx, "tcp", port.Target())
	if err == nil {
		conn.Close()
		return Usable, nil
	}
	if refused, ok := errors.AsType[*ssh.OpenChannelError](err); ok {
		if refused.Reason == ssh.Prohibited {
			return Prohibited, fault.New(fault.Failed, "Allow it in the box's sshd_config: AllowTcpForwarding yes, PermitOpen any.", "the box's SSH server forbids forwarding: %w", err)
		}
		return NoTarget, fault.New(fault.Failed, "Start the service on the box, listening on localhost or on all addresses.", "nothing listens there: %w", err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Unknown, fault.New(fault.Timeout, "Look at the box: something swallows connections to that port.", "no answer: %w", err)
	}
	return Unknown, err
}
