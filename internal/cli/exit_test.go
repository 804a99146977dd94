package cli

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"crabbox/internal/fault"
)

func TestExitCode(t *testing.T) {
	plain := errors.New("plain")
	of := func(k fault.Kind) error { return fmt.Errorf("around: %w", fault.New(k, "", "inside: %w", plain)) }
	for _, test := range []struct {
		name string
		err  error
		want int
	}{
		{"done", nil, 0},
		{"no kind", plain, 1},
		{"failed", of(fault.Failed), 1},
		{"not supported", of(fault.Unsupported), 1},
		{"usage", of(fault.Usage), 2},
		{"partial", of(fault.Partial), 3},
		{"credentials", of(fault.Credentials), 4},
		{"not found", of(fault.NotFound), 5},
		{"conflict", of(fault.Conflict), 6},
		{"not ours", of(fault.NotOurs), 6},
		{"timeout", of(fault.Timeout), 7},
		{"deadline without a kind", fmt.Errorf("dial: %w", context.DeadlineExceeded), 7},
		{"interrupted", interrupted{context.Canceled}, 130},
		{"interrupted with a kind", interrupted{of(fault.Partial)}, 130},
		{"a canceled part of ours", fmt.Errorf("dial: %w", context.Canceled), 1},
		{"a command's own code", ended(42), 42},
		{"a command's own code after Ctrl-C", interrupted{ended(9)}, 9},
		{"a command that succeeded", ended(0), 0},
		{"the outermost kind decides", fault.New(fault.Partial, "", "outer: %w", of(fault.Timeout)), 3},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%s: exit code %d, want %d", test.name, got, test.want)
		}
	}
}
