//go:build unix

package login

import (
	"context"
	"io"
	"net"
)

// defaultAgent is the agent where SSH_AUTH_SOCK is not set: none.
const defaultAgent = ""

func dialAgent(ctx context.Context, socket string) (io.ReadWriteCloser, error) {
	var plain net.Dialer
	return plain.DialContext(ctx, "unix", socket)
}
