//go:build !linux

package local

import "context"

// end ends the box's process.
func (p *Provider) end(ctx context.Context, id string, r record) error {
	if !p.alive(id) {
		return nil
	}
	return p.endUnpinned(ctx, id, r.Pid)
}

// ownProcesses has nothing to do: there is no way here to inherit orphans.
func ownProcesses() error { return nil }

// endOthers has nothing to do: the SSH server has killed the process groups
// of its commands. A command that made a session of its own lives on.
func endOthers() {}
