// Package fault is how every room says that something went wrong: what
// happened, which kind of failure it is, and what the person can do about it.
//
// It decides nothing: the command line turns a kind into an exit code and
// prints the remedy, the agent sends both over its socket. The mesh does not
// use it, since the mesh knows nothing of persons.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Kind is the class of a failure. Kinds are errors themselves, so callers ask
// errors.Is(err, fault.NotFound).
type Kind string

// The kinds that callers act upon. docs/exit-codes.md gives each one's exit code.
const (
	Failed      Kind = "failed"
	Usage       Kind = "wrong usage"
	Partial     Kind = "partly done"
	Credentials Kind = "credentials missing or refused"
	NotFound    Kind = "not found"
	Conflict    Kind = "conflict"
	Timeout     Kind = "timed out"
	Unsupported Kind = "not supported"
	NotOurs     Kind = "not ours"
)

// Error makes a Kind usable as a target of errors.Is.
func (k Kind) Error() string { return string(k) }

// Error is a failure that knows its kind and its remedy.
type Error struct {
	Kind   Kind
	What   string // lower case, no full stop: what went wrong
	Remedy string // one sentence: what to do; empty when there is nothing to do
	Cause  error  // may be nil; joined to What by ": "
}

// New returns a failure of a kind. The remedy may be empty. The format may use
// %w; what it wraps stays visible to errors.Is and errors.As.
func New(kind Kind, remedy, format string, args ...any) *Error {
	wrapped := fmt.Errorf(format, args...)
	return &Error{Kind: kind, What: wrapped.Error(), Remedy: remedy, Cause: hidden{wrapped}}
}

// hidden keeps a cause for errors.Is while its text is part of What already.
type hidden struct{ err error }

func (h hidden) Error() string { return "" }
func (h hidden) Unwrap() error { return h.err }

func (e *Error) Error() string {
	if e.Cause == nil {
		return e.What
	}
	if cause := e.Cause.Error(); cause != "" {
		return e.What + ": " + cause
	}
	return e.What
}

// Unwrap lets errors.Is find both the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// KindOf returns the kind of the outermost Error in err's chain, Failed when
// there is none, and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	if k, ok := errors.AsType[Kind](err); ok {
		return k
	}
	return Failed
}

// RemedyOf returns the remedies in err's chain, outermost first, each once,
// joined by a space; "" when there is none.
func RemedyOf(err error) string {
	var remedies []string
	seen := map[string]bool{}
	walk(err, func(e *Error) {
		if e.Remedy != "" && !seen[e.Remedy] {
			seen[e.Remedy] = true
			remedies = append(remedies, e.Remedy)
		}
	})
	return strings.Join(remedies, " ")
}

func walk(err error, visit func(*Error)) {
	if err == nil {
		return
	}
	if e, ok := err.(*Error); ok {
		visit(e)
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		walk(u.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		for _, inner := range u.Unwrap() {
			walk(inner, visit)
		}
	}
}
