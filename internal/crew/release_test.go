package crew

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/login"
	"crabbox/internal/provider/providertest"
	"crabbox/internal/store"
)

func TestReleaseTwiceAtOnce(t *testing.T) {
	k, mem := newKeeper(t)
	l := mustWarmup(t, k, order("demo", "web"))
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if err := k.Release(t.Context(), l); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := mem.Calls(providertest.OpDestroy); n != 1 {
		t.Errorf("%d calls of Destroy", n)
	}
	checkNothingLeft(t, k, mem)
}

func TestReleaseOfWhatIsGoneOrOver(t *testing.T) {
	k, mem := newKeeper(t)
	gone := mustWarmup(t, k, order("demo", "web"))
	over := mustWarmup(t, k, order("demo", "api"))
	mem.Vanish(gone.Box.ProviderID)
	k.Now = func() time.Time { return over.Box.Expires.Add(time.Hour) }
	for _, l := range []store.Lease{gone, over} {
		if err := k.Release(t.Context(), l); err != nil {
			t.Errorf("%s: %v", l.Box.Slug, err)
		}
	}
	checkNothingLeft(t, k, mem)
}

// Trouble with the provider is no proof of anything: the lease stays.
func TestReleaseKeepsTheLeaseWhenDestroyFails(t *testing.T) {
	k, mem := newKeeper(t)
	l := mustWarmup(t, k, order("demo", "web"))
	mem.FailNext(providertest.OpDestroy, fault.New(fault.Credentials, "Set a token.", "the token has expired"))
	err := k.Release(t.Context(), l)
	checkFault(t, err, fault.Credentials, "Set a token.")
	if _, err := k.Store.Lease(l.Box.ID); err != nil {
		t.Error(err)
	}
	checkLogin(t, k, l)
	if err := k.Release(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	checkNothingLeft(t, k, mem)
}

// A box that is not proven ours is not touched.
func TestReleaseRefusesWhatIsNotOurs(t *testing.T) {
	k, mem := newKeeper(t)
	l := mustWarmup(t, k, order("demo", "web"))
	if _, err := k.Store.UpdateLease(l.Box.ID, func(l *store.Lease) { l.Nonce = "forged" }); err != nil {
		t.Fatal(err)
	}
	if err := k.Release(t.Context(), l); !errors.Is(err, fault.NotOurs) {
		t.Errorf("error %v", err)
	}
	if len(mem.IDs()) != 1 {
		t.Error("the box is gone")
	}
}

// Release waits for a warmup under way, and then ends what it made.
func TestReleaseDuringWarmup(t *testing.T) {
	k, mem := newKeeper(t)
	released := make(chan error, 1)
	var once sync.Once
	k.logIn = func(ctx context.Context, target login.Target) (*ssh.Client, error) {
		once.Do(func() {
			leases, _, err := k.List(ctx, Filter{}, false)
			if err != nil || len(leases) != 1 {
				t.Errorf("leases %v, %v", leases, err)
				return
			}
			short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			if err := k.Release(short, leases[0]); !errors.Is(err, fault.Timeout) {
				t.Errorf("a release that cannot wait: %v", err)
			}
			if len(mem.IDs()) != 1 {
				t.Error("the box was destroyed under its warmup")
			}
			go func() { released <- k.Release(context.WithoutCancel(ctx), leases[0]) }()
		})
		return k.Login.Connect(ctx, target)
	}
	mustWarmup(t, k, order("demo", "web"))
	if err := <-released; err != nil {
		t.Fatal(err)
	}
	checkNothingLeft(t, k, mem)
}

func TestReleaseGivesTheAddressBack(t *testing.T) {
	k, mem := newKeeper(t)
	l := mustWarmup(t, k, order("demo", "web"))
	if _, err := k.Store.Address(t.Context(), "demo", "web"); err != nil {
		t.Fatal(err)
	}
	if err := k.Release(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	checkNothingLeft(t, k, mem)
}

func TestSetExpose(t *testing.T) {
	k, mem := newKeeper(t)
	l := mustWarmup(t, k, order("demo", "web"))
	ports := []box.Port{{Number: 9090, Proto: box.TCP}, {Number: 80, Proto: box.TCP}}
	l, err := k.SetExpose(t.Context(), l, ports)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := mem.Get(t.Context(), l.Box.ProviderID)
	if err != nil || len(seen.Expose) != 2 || seen.Expose[0].Number != 80 || len(l.Box.Expose) != 2 || l.Box.Expose[0].Number != 80 {
		t.Errorf("box exposes %v, lease %v (%v)", seen.Expose, l.Box.Expose, err)
	}
	_, err = k.SetExpose(t.Context(), l, append(ports, ports...))
	checkFault(t, err, fault.Usage, "once")
	mem.FailNext(providertest.OpSetLabels, fault.New(fault.Credentials, "", "no"))
	if _, err = k.SetExpose(t.Context(), l, nil); !errors.Is(err, fault.Credentials) {
		t.Errorf("error %v", err)
	}
	mem.FailNext(providertest.OpSetLabels, fault.New(fault.Unsupported, "", "labels are fixed"))
	if l, err = k.SetExpose(t.Context(), l, nil); err != nil || len(l.Box.Expose) != 0 {
		t.Errorf("exposes %v, %v", l.Box.Expose, err)
	}
	if err := k.Release(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	_, err = k.SetExpose(t.Context(), l, ports)
	checkFault(t, err, fault.NotFound, "crabbox list")
}
