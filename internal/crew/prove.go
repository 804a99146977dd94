package crew

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/fault"
	"crabbox/internal/login"
	"crabbox/internal/store"
)

// How long a box may take until it lets us in: one that is being made has to
// boot, one that exists already has no excuse.
const (
	bootWait   = 2 * time.Minute
	knockWait  = 20 * time.Second
	tryWait    = 20 * time.Second // one attempt
	personWait = 2 * time.Minute  // for the person who is asked for a passphrase
	firstRest  = 50 * time.Millisecond
	longRest   = 2 * time.Second
)

// proveLogin logs in to the box, again and again with rests that grow, until it
// works, is refused for a reason that waiting does not cure, or takes too long.
// Between attempts it asks for the endpoint, which may come late or move.
func (w warmup) proveLogin(ctx context.Context, l *store.Lease) error {
	patience := w.LoginWait
	if patience == 0 {
		patience = bootWait
		if !w.d.Can.Owned {
			patience = knockWait
		}
	}
	attempt := tryWait
	if w.willAsk(*l) {
		patience, attempt = patience+personWait, personWait
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	said := "" // each reason is told once, however often it comes
	for rest := firstRest; ; rest = min(2*rest, longRest) {
		err := w.logInOnce(waiting, *l, attempt)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return cutShort(ctx, l.Box)
		}
		if final(err) || !w.d.Can.Owned && unreachable(err) {
			return err // it names the box
		}
		if reason := err.Error(); reason != said {
			w.progress(l.Box.Slug + " does not let us in yet: " + reason)
			said = reason
		}
		select {
		case <-waiting.Done():
		case <-time.After(rest):
			if gone := w.look(waiting, l); gone != nil {
				return gone
			}
		}
		if ctx.Err() != nil {
			return cutShort(ctx, l.Box)
		}
		if waiting.Err() != nil {
			remedy := ""
			if w.d.Can.Owned {
				remedy = "Look at the box in its provider's console, or try again."
			}
			return fault.New(fault.Timeout, remedy, "%s did not let us in within %s: %w", l.Box.Slug, patience, err)
		}
	}
}

// willAsk tells whether a person will be asked to unlock a key.
func (w warmup) willAsk(l store.Lease) bool {
	target, err := w.Target(l)
	return err == nil && w.Login != nil && w.Login.Ask != nil && len(w.Login.Locked(target)) > 0
}

func (w warmup) logInOnce(ctx context.Context, l store.Lease, limit time.Duration) error {
	target, err := w.Target(l)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client, err := w.connect(ctx, target)
	if err != nil {
		return err
	}
	client.Close() // the login is the proof; a box that hangs up first has passed too
	return nil
}

func (k *Keeper) connect(ctx context.Context, t login.Target) (*ssh.Client, error) {
	if k.logIn != nil {
		return k.logIn(ctx, t)
	}
	return k.Login.Connect(ctx, t)
}

// look takes over today's endpoint. Only a proof that the box is gone is an
// error; a provider that does not answer is asked again after the next attempt.
func (w warmup) look(ctx context.Context, l *store.Lease) error {
	seen, err := w.p.Get(ctx, l.Box.ProviderID)
	if errors.Is(err, fault.NotFound) {
		return fault.New(fault.Failed, "", "%s ended before it could be logged in to: %w", l.Box.Slug, err)
	}
	if err != nil {
		return nil
	}
	return adopt(w.d, &l.Box, seen)
}

// unreachable tells that nothing answers at the address, or that there is no
// such address: what a box does that still boots, and a machine that exists
// already only when it is down or misspelt.
func unreachable(err error) bool {
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && dial.Op == "dial" && !dial.Timeout()
}

// final tells refusals from a box that is not up yet.
func final(err error) bool {
	switch fault.KindOf(err) {
	case fault.Credentials, fault.Conflict, fault.Usage, fault.Unsupported, fault.NotOurs:
		return true
	}
	return false
}
