package login

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
)

// defaultAgent is the named pipe of Windows' own agent.
const defaultAgent = `\\.\pipe\openssh-ssh-agent`

func dialAgent(ctx context.Context, socket string) (io.ReadWriteCloser, error) {
	if strings.HasPrefix(socket, `\\`) {
		return os.OpenFile(socket, os.O_RDWR, 0)
	}
	var plain net.Dialer
	return plain.DialContext(ctx, "unix", socket)
}
