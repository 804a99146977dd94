package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestKindOf(t *testing.T) {
	inner := New(NotFound, "", "no box")
	for _, test := range []struct {
		err  error
		want Kind
	}{
		{nil, ""},
		{errors.New("x"), Failed},
		{Timeout, Timeout},
		{fmt.Errorf("late: %w", Timeout), Timeout},
		{inner, NotFound},
		{fmt.Errorf("look: %w", inner), NotFound},
		{New(Partial, "", "two of three: %w", inner), Partial}, // the outermost decides
		{errors.Join(errors.New("x"), inner), NotFound},
		{New(Conflict, "", "held"), Conflict},
	} {
		if got := KindOf(test.err); got != test.want {
			t.Errorf("KindOf(%v) = %q, want %q", test.err, got, test.want)
		}
	}
}

func TestErrorKeepsItsCauseForIsAndAs(t *testing.T) {
	cause := &fs.PathError{Op: "open", Path: "/x", Err: fs.ErrPermission}
	err := fmt.Errorf("outer: %w", New(Credentials, "Set a token.", "read the token: %w", cause))
	if got, want := err.Error(), "outer: read the token: open /x: permission denied"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	for _, target := range []error{Credentials, fs.ErrPermission, cause} {
		if !errors.Is(err, target) {
			t.Errorf("%v is not found", target)
		}
	}
	for _, target := range []error{NotFound, fs.ErrNotExist, context.Canceled} {
		if errors.Is(err, target) {
			t.Errorf("%v is found", target)
		}
	}
	if path, ok := errors.AsType[*fs.PathError](err); !ok || path != cause {
		t.Errorf("the path error is %v", path)
	}
	if e, ok := errors.AsType[*Error](err); !ok || e.Remedy != "Set a token." {
		t.Errorf("the fault is %+v", e)
	}
}

func TestErrorWithoutCause(t *testing.T) {
	err := New(Usage, "", "%q is %d%%", "x", 5)
	if got, want := err.Error(), `"x" is 5%`; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	if !errors.Is(err, Usage) || errors.Is(err, Failed) {
		t.Error("wrong kinds")
	}
	plain := &Error{Kind: NotOurs, What: "box 7"} // as other rooms may build it
	if plain.Error() != "box 7" || !errors.Is(plain, NotOurs) || errors.Is(plain, Usage) {
		t.Errorf("%v", plain)
	}
	caused := &Error{Kind: NotOurs, What: "box 7", Cause: fs.ErrExist}
	if got, want := caused.Error(), "box 7: file already exists"; got != want || !errors.Is(caused, fs.ErrExist) {
		t.Errorf("text %q, want %q", got, want)
	}
}

// Two causes are both found, as with fmt.Errorf.
func TestErrorWithTwoCauses(t *testing.T) {
	first := New(Timeout, "Wait.", "first")
	err := New(Failed, "Try again.", "%w; and %w", first, fs.ErrClosed)
	if !errors.Is(err, Timeout) || !errors.Is(err, fs.ErrClosed) || KindOf(err) != Failed {
		t.Errorf("%v loses a cause", err)
	}
	if got, want := RemedyOf(err), "Try again. Wait."; got != want {
		t.Errorf("remedy %q, want %q", got, want)
	}
}

func TestRemedyOf(t *testing.T) {
	key := New(Credentials, "Add the key.", "refused")
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("x"), ""},
		{key, "Add the key."},
		{fmt.Errorf("outer: %w", key), "Add the key."},
		{New(Failed, "Try again.", "outer: %w", key), "Try again. Add the key."},
		{New(Failed, "", "outer: %w", key), "Add the key."},
		{New(Failed, "Add the key.", "outer: %w", key), "Add the key."},
		{errors.Join(key, New(Timeout, "Wait.", "late"), key), "Add the key. Wait."},
	} {
		if got := RemedyOf(test.err); got != test.want {
			t.Errorf("RemedyOf(%v) = %q, want %q", test.err, got, test.want)
		}
	}
}
