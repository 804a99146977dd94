package cli

import (
	"context"
	"errors"
	"fmt"

	"crabbox/internal/fault"
)

// The exit codes; docs/exit-codes.md explains them to people.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitPartial     = 3
	exitCredentials = 4
	exitNotFound    = 5
	exitConflict    = 6
	exitTimeout     = 7
	exitInterrupted = 130
)

// commandEnded is the end of a command on a box: its own exit code becomes
// ours, and there is nothing to say about it.
type commandEnded struct{ code int }

func (c commandEnded) Error() string { return fmt.Sprintf("the command ended with code %d", c.code) }

// ended is nil for a command that succeeded.
func ended(code int) error {
	if code == 0 {
		return nil
	}
	return commandEnded{code}
}

// interrupted marks what a command returned after the person stopped it.
type interrupted struct{ err error }

func (i interrupted) Error() string { return i.err.Error() }
func (i interrupted) Unwrap() error { return i.err }

// exitCode is the one place where a failure becomes an exit code.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	if c, ok := errors.AsType[commandEnded](err); ok {
		return c.code
	}
	if _, ok := errors.AsType[interrupted](err); ok {
		return exitInterrupted
	}
	switch fault.KindOf(err) {
	case fault.Usage:
		return exitUsage
	case fault.Partial:
		return exitPartial
	case fault.Credentials:
		return exitCredentials
	case fault.NotFound:
		return exitNotFound
	case fault.Conflict, fault.NotOurs:
		return exitConflict
	case fault.Timeout:
		return exitTimeout
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return exitTimeout
	}
	return exitFailed
}
