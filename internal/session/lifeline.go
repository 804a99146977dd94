package session

import (
	"context"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// patience is how long a command may take to end after TERM, and a server
	// to answer after that.
	patience = 2 * time.Second
	// pulse is how often a silent connection is asked whether it lives, and
	// silence how long the answer may take.
	pulse   = 15 * time.Second
	silence = 15 * time.Second
)

// Within runs f, whose calls into the SSH library know no context. When ctx
// ends, a living server lets a short f end within a round trip or two; after
// two seconds Within closes the connection, which is the only way out of those
// calls, and waits for f. The error is then ctx's cause.
func Within(ctx context.Context, c *ssh.Client, f func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	returned, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-returned:
			return
		case <-ctx.Done():
		}
		select {
		case <-returned:
		case <-time.After(patience):
			c.Close()
		}
	}()
	err := f()
	close(returned)
	<-watched
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// hangUp ends the command when ctx does: TERM, then KILL and a closed channel,
// then a closed connection (OpenSSH keeps a channel open as long as its command
// lives). It returns when the command has ended: what ended ctx, or nil when
// the command was first.
func (k *call) hangUp(ctx context.Context) error {
	select {
	case <-k.ended:
		return nil
	case <-ctx.Done():
	}
	// Armed before the first write, since that can block on a dead connection.
	dead := time.AfterFunc(2*patience, func() { k.client.Close() })
	defer dead.Stop()
	giveUp := time.After(patience)
	k.signal("TERM")
	select {
	case <-k.ended:
	case <-giveUp:
		k.signal("KILL")
		k.ch.Close()
		<-k.ended
	}
	return context.Cause(ctx)
}

// keepAlive closes a connection whose other end has gone without a word, until
// the command ends. Any answer counts, a refusal too.
func (k *call) keepAlive(pulse, silence time.Duration) {
	beat := time.NewTicker(pulse)
	defer beat.Stop()
	for {
		select {
		case <-k.ended:
			return
		case <-beat.C:
		}
		dead := time.AfterFunc(silence, func() { k.client.Close() })
		_, _, err := k.client.SendRequest("keepalive@openssh.com", true, nil)
		dead.Stop()
		if err != nil {
			return
		}
	}
}
