package session

import (
	"context"
	"errors"
	"io"
	"sync"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/fault"
)

// call is one session channel. It is written on the channel directly, since
// ssh.Session tells a refusal from a lost connection only by an error's text.
//
//	open -> requests (env, pty) -> exec or shell -> streams -> ended
//	                                  |
//	                                  +-- named: the command's process id is known
//
// ended is closed when the server has closed the channel or the connection is
// gone; exit is written before and may be read after. named is closed when pid
// is known, in the same way.
type call struct {
	client *ssh.Client
	ch     ssh.Channel
	ended  chan struct{}
	exit   exit

	mark  string // announces the process id on stderr; "" when it is not asked for
	named chan struct{}
	pid   int
}

// open opens a session channel. Its requests are served by a goroutine that
// ends with the channel.
func open(c *ssh.Client) (*call, error) {
	ch, requests, err := c.OpenChannel("session", nil)
	if err != nil {
		if refused, ok := errors.AsType[*ssh.OpenChannelError](err); ok {
			return nil, fault.New(fault.Unsupported, "Its SSH server may forbid commands, or allow fewer at a time.",
				"the box opens no session: %w", refused)
		}
		return nil, lost(err)
	}
	k := &call{client: c, ch: ch, ended: make(chan struct{}), named: make(chan struct{})}
	go func() {
		defer close(k.ended)
		for r := range requests {
			k.exit.note(r)
			if r.WantReply {
				_ = r.Reply(false, nil)
			}
		}
	}()
	return k, nil
}

// request sends a request that the server has to grant.
func (k *call) request(name string, payload []byte) error {
	granted, err := k.ch.SendRequest(name, true, payload)
	if err != nil {
		return lost(err)
	}
	if !granted {
		return fault.New(fault.Unsupported, "Its SSH server forbids it; see its configuration and the account's.",
			"the box refuses the request %q", name)
	}
	return nil
}

// converse carries the streams, signals and window changes of a started
// command until it ends, and returns its code.
func (k *call) converse(ctx context.Context, cmd Command) (code int, err error) {
	// A stream that breaks on our side ends the command as the caller does.
	caller := ctx
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	tty, err := takeTerminal(cmd)
	if err != nil {
		fail(err)
	}
	defer tty.restore()

	var cut error // what ended ctx, when that was before the command's end
	stopInput := k.feed(cmd.Stdin, tty, fail)
	var work sync.WaitGroup
	for _, f := range []func(){
		func() { drain(cmd.Stdout, k.ch, fail) },
		func() { drain(k.listen(cmd.Stderr), k.ch.Stderr(), fail) },
		func() { k.passSignals(cmd.Signals) },
		func() { k.passSizes(tty) },
		func() { k.keepAlive(pulse, silence) },
		func() { cut = k.hangUp(ctx) },
	} {
		work.Go(func() {
			defer tty.guard()
			f()
		})
	}
	<-k.ended
	stopInput()
	work.Wait()
	k.ch.Close()
	if cut == nil && caller.Err() == nil {
		cut = context.Cause(ctx) // a stream broke after the command's end
	}
	if cut != nil {
		return 0, cut
	}
	return k.exit.code()
}

// drain copies one output until its end. It goes on reading after a failed
// Write, so that the channel's window never closes on the other stream.
func drain(dst io.Writer, src io.Reader, fail func(error)) {
	if dst == nil {
		dst = io.Discard
	}
	_, err := io.Copy(dst, src)
	if rest, ok := dst.(*announced); ok && err == nil {
		err = rest.flush()
	}
	if err != nil {
		fail(fault.New(fault.Failed, "", "writing the command's output: %w", err))
		_, _ = io.Copy(io.Discard, src)
	}
}

// feed copies Stdin to the command in a goroutine of its own. The function it
// returns ends that: where the Read can be given up, it waits for the
// goroutine; see Command.Stdin.
func (k *call) feed(stdin io.Reader, tty *terminal, fail func(error)) (stop func()) {
	if stdin == nil {
		_ = k.ch.CloseWrite()
		return func() {}
	}
	in := newInput(stdin)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer tty.guard()
		defer in.close()
		buf := make([]byte, 32<<10)
		for {
			n, err := in.Read(buf)
			if n > 0 {
				if _, err := k.ch.Write(buf[:n]); err != nil {
					return // the command no longer reads, or the channel is closed
				}
			}
			switch {
			case err == io.EOF:
				_ = k.ch.CloseWrite()
				return
			case err == errGivenUp:
				return
			case err != nil:
				fail(fault.New(fault.Failed, "", "reading the command's input: %w", err))
				return
			}
		}
	}()
	return func() {
		if in.giveUp() {
			<-done
		}
	}
}
