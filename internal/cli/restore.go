package cli

import (
	"context"

	"crabbox/internal/agent/client"
)

// openRestored is open for commands that concern boxes: it also puts back what
// an agent held that was killed. That costs a look at a folder when nothing is
// wanted connected, and stops no command when it fails.
func (a *app) openRestored(ctx context.Context) (*home, error) {
	h, err := a.open()
	if err != nil {
		return nil, err
	}
	if wanted, _, err := h.store.Wanted(); err != nil || len(wanted) == 0 || client.Running(a.agentOptions(h)) {
		return h, nil
	}
	if _, err := client.Connect(ctx, a.agentOptions(h)); err != nil && ctx.Err() == nil {
		a.trouble(err)
	}
	return h, nil
}

// restored is a client of the agent. When none runs although crews are wanted
// connected (it was killed), a new one is started, which puts them back; nil
// when there is nothing to put back.
func (a *app) restored(ctx context.Context, h *home) (*client.Client, error) {
	c, err := a.runningAgent(ctx, h)
	if err != nil || c != nil {
		return c, err
	}
	wanted, broken, err := h.store.Wanted()
	if err != nil {
		return nil, err
	}
	a.brokenFiles(broken)
	if len(wanted) == 0 {
		return nil, nil
	}
	return client.Connect(ctx, a.agentOptions(h))
}
