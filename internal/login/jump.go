package login

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
)

// dialJump opens the stream to t through its hops. It logs in to the last hop,
// whose own way leads through the hops before it, and asks it for a channel.
// Each stream so owns the hop under it: closing one cuts the network below all
// of them first, since a polite good-bye through a dead network could hang.
func (d *Dialer) dialJump(ctx context.Context, t Target) (net.Conn, error) {
	if len(t.Endpoint.Addrs) == 0 {
		return nil, errors.New("the endpoint has no address behind its jump hosts")
	}
	before, last := t.Endpoint.Jump[:len(t.Endpoint.Jump)-1], t.Endpoint.Jump[len(t.Endpoint.Jump)-1]
	last.Jump = slices.Concat(before, last.Jump)
	hop, err := d.Connect(ctx, Target{Name: hopName(last), Endpoint: last, LeaseKey: t.LeaseKey})
	if err != nil {
		return nil, fmt.Errorf("jump host: %w", err)
	}
	cut := func() {
		hop.Close()
		hop.Wait()
	}
	channel, err := openChannel(ctx, hop, t.Endpoint.Addrs[0])
	if err != nil {
		cut()
		return nil, fmt.Errorf("jump host %s has no way on: %w", hopName(last), err)
	}
	return newBridge(channel, channel, cut, nil), nil
}

// hopName is what a hop's key is pinned under: its place, since it is no box of
// ours. With its brackets it cannot be mistaken for a lease.
func hopName(hop box.Endpoint) string {
	if len(hop.Addrs) == 0 {
		return "jump-host"
	}
	host, port, err := net.SplitHostPort(hop.Addrs[0])
	if err != nil {
		return hop.Addrs[0]
	}
	return "[" + strings.ToLower(host) + "]:" + port
}

// openChannel asks a hop to connect to addr. x/crypto/ssh waits for the hop's
// answer without looking at ctx, so the hop is cut when ctx ends.
func openChannel(ctx context.Context, hop *ssh.Client, addr string) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { hop.Close() })
	conn, err := hop.Dial("tcp", addr)
	if !stop() && err == nil {
		conn.Close()
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return conn, nil
}
