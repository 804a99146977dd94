package cli

import (
	"context"
	"errors"

	"crabbox/internal/agent/api"
	"crabbox/internal/agent/client"
	"crabbox/internal/fault"
	"crabbox/internal/store"
)

// passphraseTries is how often a passphrase is asked for.
const passphraseTries = 3

// unlockKeys asks for the passphrases of the keys that the members' logins
// need, and hands them to the agent, which keeps them in memory. Where nobody
// can be asked, the keys are named and the members that need them are not
// reached.
func (a *app) unlockKeys(ctx context.Context, h *home, c *client.Client, leases []store.Lease) error {
	seen := map[string]bool{}
	for _, l := range leases {
		target, err := h.keeper.Target(l)
		if err != nil {
			continue // the agent says so, at the member
		}
		for _, file := range h.login.Locked(target) {
			if seen[file] {
				continue
			}
			seen[file] = true
			if h.login.Ask == nil {
				a.out.warn("the key %s is encrypted and there is no terminal to ask for its passphrase; ssh-add it, or connect from a terminal", file)
				continue
			}
			if err := a.unlockKey(ctx, h, c, file); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *app) unlockKey(ctx context.Context, h *home, c *client.Client, file string) error {
	for try := 1; ; try++ {
		secret, err := h.login.Ask(ctx, "Passphrase for "+file+":")
		if err != nil {
			return err
		}
		err = c.Unlock(ctx, api.UnlockRequest{File: file, Passphrase: secret})
		clear(secret)
		if err == nil || !errors.Is(err, fault.Credentials) || try == passphraseTries {
			return err
		}
		a.out.warn("that is not its passphrase")
	}
}
