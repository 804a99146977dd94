package providertest

import (
	"context"
	"time"
)

// Op is one method of a provider.
type Op string

// The methods that can be made to fail, wait or call back.
const (
	OpCreate    Op = "create"
	OpGet       Op = "get"
	OpList      Op = "list"
	OpSetLabels Op = "set labels"
	OpDestroy   Op = "destroy"
	OpOpen      Op = "open"
)

// FailNext makes the next call of op fail with err before it does anything.
// Called n times, the next n calls fail.
func (m *Mem) FailNext(op Op, err error) { m.Before(op, func(context.Context) error { return err }) }

// FailAfter makes the next call of op do its work and report err all the same,
// as when an answer is lost on its way.
func (m *Mem) FailAfter(op Op, err error) { m.After(op, func(context.Context) error { return err }) }

// Delay makes the next call of op wait first, for d or until its context ends.
func (m *Mem) Delay(op Op, d time.Duration) {
	m.Before(op, func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// Before runs hook at the start of the next call of op, with the call's
// context; an error from it is the call's result.
func (m *Mem) Before(op Op, hook func(context.Context) error) { m.enqueue(m.before, op, hook) }

// After runs hook when the next call of op has done its work.
func (m *Mem) After(op Op, hook func(context.Context) error) { m.enqueue(m.after, op, hook) }

func (m *Mem) enqueue(hooks map[Op][]func(context.Context) error, op Op, hook func(context.Context) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hooks[op] = append(hooks[op], hook)
}

// run takes the next hook for op out of hooks and runs it without the lock.
func (m *Mem) run(ctx context.Context, hooks map[Op][]func(context.Context) error, op Op) error {
	m.mu.Lock()
	var hook func(context.Context) error
	if queue := hooks[op]; len(queue) > 0 {
		hook, hooks[op] = queue[0], queue[1:]
	}
	m.mu.Unlock()
	if hook != nil {
		return hook(ctx)
	}
	return ctx.Err()
}

func (m *Mem) enter(ctx context.Context, op Op) error {
	m.mu.Lock()
	m.calls[op]++
	m.mu.Unlock()
	return m.run(ctx, m.before, op)
}

// Calls returns how often op was called.
func (m *Mem) Calls(op Op) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[op]
}
