package session

import (
	"time"

	"golang.org/x/crypto/ssh"
)

// KeepAlive runs a call's keep-alive with a faster pulse until the connection
// ends.
func KeepAlive(c *ssh.Client, pulse, silence time.Duration) {
	(&call{client: c, ended: make(chan struct{})}).keepAlive(pulse, silence)
}
