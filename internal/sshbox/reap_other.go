//go:build !linux

package sshbox

import (
	"context"
	"os/exec"
)

// Reaper collects orphans where a process inherits them, which is on Linux only.
type Reaper struct{}

// Start is cmd.Start.
func (r *Reaper) Start(cmd *exec.Cmd) error { return cmd.Start() }

// Wait is cmd.Wait.
func (r *Reaper) Wait(cmd *exec.Cmd) error { return cmd.Wait() }

// Run waits for the end of ctx.
func (r *Reaper) Run(ctx context.Context) { <-ctx.Done() }

// awaitEnd is false: a child's end cannot be seen here without collecting it.
func awaitEnd(int) bool { return false }
