package crew

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/login"
	"crabbox/internal/provider/providertest"
	"crabbox/internal/store"
)

// Ctrl-C at every stage leaves no box and nothing on disk.
func TestWarmupCancelledAtEveryStage(t *testing.T) {
	type hook = func(k *Keeper, mem *providertest.Mem, cancel func())
	during := func(op providertest.Op) hook {
		return func(_ *Keeper, mem *providertest.Mem, cancel func()) {
			mem.Before(op, func(ctx context.Context) error { cancel(); return ctx.Err() })
		}
	}
	for _, test := range []struct {
		name string
		at   string // the progress at which it is cancelled
		hook hook
	}{
		{name: "before it begins", hook: func(_ *Keeper, _ *providertest.Mem, cancel func()) { cancel() }},
		{name: "creating", at: "creating"},
		{name: "in Create, before the box", hook: during(providertest.OpCreate)},
		{name: "in Create, with the box", at: "starting a box"},
		{name: "after Create, its answer lost", hook: func(_ *Keeper, mem *providertest.Mem, cancel func()) {
			mem.FailAfter(providertest.OpCreate, context.Canceled)
			cancelAfter(mem, cancel)
		}},
		{name: "after Create", hook: func(_ *Keeper, mem *providertest.Mem, cancel func()) {
			mem.After(providertest.OpCreate, func(context.Context) error { cancel(); return nil })
		}},
		{name: "logging in", at: "logging in"},
		{name: "in the login", hook: func(k *Keeper, _ *providertest.Mem, cancel func()) {
			k.logIn = func(ctx context.Context, _ login.Target) (*ssh.Client, error) {
				cancel()
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}},
		{name: "between two logins", hook: func(k *Keeper, mem *providertest.Mem, cancel func()) {
			failing(k, 100, errors.New("connection refused"))
			mem.Before(providertest.OpGet, func(ctx context.Context) error { cancel(); return ctx.Err() })
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, mem := newKeeper(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.hook != nil {
				test.hook(k, mem, cancel)
			}
			_, err := k.Warmup(ctx, order("demo", "web"), func(s string) {
				if test.at != "" && strings.HasPrefix(s, test.at) {
					cancel()
				}
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			if ctx.Err() == nil {
				t.Error("the stage was not reached")
			}
			checkNothingLeft(t, k, mem)
		})
	}
}

// cancelAfter cancels as soon as the warmup begins to look for what is left.
func cancelAfter(mem *providertest.Mem, cancel func()) {
	mem.Before(providertest.OpList, func(context.Context) error { cancel(); return nil })
}

func TestWarmupWhoseCreateFails(t *testing.T) {
	for _, answer := range []string{"before", "after"} { // after: the box is there, the answer is lost
		t.Run(answer, func(t *testing.T) {
			k, mem := newKeeper(t)
			cause := fault.New(fault.Credentials, "Set a token.", "the token is refused")
			if answer == "before" {
				mem.FailNext(providertest.OpCreate, cause)
			} else {
				mem.FailAfter(providertest.OpCreate, cause)
			}
			_, err := k.Warmup(t.Context(), order("demo", "web"), quiet)
			checkFault(t, err, fault.Credentials, "Set a token.")
			if !errors.Is(err, cause) || !strings.Contains(err.Error(), "create web") {
				t.Errorf("error %v", err)
			}
			checkNothingLeft(t, k, mem)
		})
	}
}

// What cannot be destroyed is named, stays in the store, and Release finishes it.
func TestWarmupThatCannotCleanUp(t *testing.T) {
	for _, known := range []bool{true, false} { // whether Create said which box it made
		k, mem := newKeeper(t)
		if known {
			failing(k, 1, fault.New(fault.Credentials, "Look at the keys.", "key refused"))
		} else {
			mem.FailAfter(providertest.OpCreate, fault.New(fault.Credentials, "Look at the keys.", "answer lost"))
		}
		mem.FailNext(providertest.OpDestroy, errors.New("no route to the provider"))
		_, err := k.Warmup(t.Context(), order("demo", "web"), quiet)
		leases, _, listErr := k.List(t.Context(), Filter{}, false)
		if listErr != nil || len(leases) != 1 || len(mem.IDs()) != 1 {
			t.Fatalf("leases %v (%v), boxes %v", leases, listErr, mem.IDs())
		}
		l := leases[0]
		checkFault(t, err, fault.Credentials, "Look at the keys.")
		checkFault(t, err, fault.Credentials, "crabbox release "+string(l.Box.ID))
		if !strings.Contains(err.Error(), "no route") || known && !strings.Contains(err.Error(), mem.IDs()[0]) {
			t.Errorf("error %v does not say what is left of box %v", err, mem.IDs())
		}
		if l.Box.State != box.Creating || !strings.Contains(l.Box.Note, "did not finish") || (l.Box.ProviderID != "") != known {
			t.Errorf("lease %+v", l.Box)
		}
		if err := k.Release(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		checkNothingLeft(t, k, mem)
	}
}

func TestWarmupTriesUntilTheBoxAnswers(t *testing.T) {
	k, mem := newKeeper(t)
	calls := failing(k, 2, errors.New("connection refused"))
	mem.FailNext(providertest.OpGet, errors.New("the provider stumbles")) // costs nothing
	reasons := 0
	l, err := k.Warmup(t.Context(), order("demo", "web"), func(line string) {
		if strings.Contains(line, "connection refused") {
			reasons++
		}
	})
	if err != nil || reasons != 1 {
		t.Errorf("the reason was told %d times, %v", reasons, err)
	}
	if *calls != 3 || mem.Calls(providertest.OpGet) != 2 || l.Box.State != box.Running {
		t.Errorf("%d logins, %d looks, state %s", *calls, mem.Calls(providertest.OpGet), l.Box.State)
	}
}

func TestWarmupStopsAtOnceWhenRefused(t *testing.T) {
	for _, kind := range []fault.Kind{fault.Credentials, fault.Conflict} {
		k, mem := newKeeper(t)
		calls := failing(k, 100, fault.New(kind, "Do something.", "no"))
		_, err := k.Warmup(t.Context(), order("demo", "web"), quiet)
		checkFault(t, err, kind, "Do something.")
		if *calls != 1 {
			t.Errorf("%d logins", *calls)
		}
		checkNothingLeft(t, k, mem)
	}
}

func TestWarmupGivesUpInTime(t *testing.T) {
	k, mem := newKeeper(t)
	k.LoginWait = 200 * time.Millisecond
	refused := errors.New("connection refused")
	failing(k, 1000, refused)
	_, err := k.Warmup(t.Context(), order("demo", "web"), quiet)
	checkFault(t, err, fault.Timeout, "console")
	if !errors.Is(err, refused) {
		t.Errorf("%v does not say why", err)
	}
	checkNothingLeft(t, k, mem)
}

func TestWarmupOfABoxThatEnds(t *testing.T) {
	k, mem := newKeeper(t)
	k.logIn = func(context.Context, login.Target) (*ssh.Client, error) {
		mem.Vanish(mem.IDs()[0])
		return nil, errors.New("connection reset")
	}
	_, err := k.Warmup(t.Context(), order("demo", "web"), quiet)
	if !errors.Is(err, fault.NotFound) || fault.KindOf(err) != fault.Failed {
		t.Errorf("error %v", err)
	}
	checkNothingLeft(t, k, mem)
}

// While a box is warmed up, its record says creating, whatever its provider says.
func TestWarmupIsCreatingUntilTheLogin(t *testing.T) {
	k, _ := newKeeper(t)
	var during store.Lease
	k.logIn = func(ctx context.Context, target login.Target) (*ssh.Client, error) {
		leases, problems, err := k.List(ctx, Filter{}, true)
		if err != nil || len(problems) != 0 || len(leases) != 1 {
			t.Errorf("leases %v, problems %v, %v", leases, problems, err)
			return nil, fault.Conflict
		}
		during = leases[0]
		return k.Login.Connect(ctx, target)
	}
	l := mustWarmup(t, k, order("demo", "web"))
	if during.Box.State != box.Creating || during.Box.ProviderID == "" || during.Box.Note != "" {
		t.Errorf("during: %+v", during.Box)
	}
	if l.Box.State != box.Running {
		t.Errorf("after: %s", l.Box.State)
	}
}

// A machine that exists already does not boot, so a typing mistake is told at once.
func TestWarmupOfAMachineThatIsNotThere(t *testing.T) {
	mem := providertest.NewMem(t)
	d := mem.Descriptor()
	d.Can.Owned = false
	k := keeperOf(t, d)
	lookup := &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: "nowhere.invalid", IsNotFound: true}}
	calls := failing(k, 100, fault.New(fault.Failed, "Check the address.", "cannot reach web: %w", lookup))
	_, err := k.Warmup(t.Context(), order("demo", "web"), quiet)
	checkFault(t, err, fault.Failed, "Check the address.")
	if *calls != 1 {
		t.Errorf("%d logins", *calls)
	}
	checkNothingLeft(t, k, mem)
}
