package providertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

func memSuite(t *testing.T, m *Mem) *suite {
	return &suite{T: t, Harness: Harness{Descriptor: m.Descriptor(), New: func(*testing.T) provider.Provider { return m }}, ctx: t.Context(), p: m}
}

func TestMem(t *testing.T) {
	for name, shape := range map[string]func(*Mem){
		"AsItIs":         func(*Mem) {},
		"ViaOpener":      func(m *Mem) { m.ViaOpener = true },
		"KeysOfItsOwn":   func(m *Mem) { m.Can.HostKey = false },
		"WithoutOwnEnds": func(m *Mem) { m.Can.TTL = false },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := NewMem(t)
			shape(m)
			Run(t, Harness{Descriptor: m.Descriptor(), New: func(*testing.T) provider.Provider { return m }})
		})
	}
}

func TestMemFailsWhenTold(t *testing.T) {
	m := NewMem(t)
	s := memSuite(t, m)
	broken := errors.New("the vendor is down")
	o := s.order("web")

	m.FailNext(OpCreate, broken)
	if _, err := m.Create(s.ctx, o.Request); !errors.Is(err, broken) || len(m.IDs()) != 0 {
		t.Errorf("Create failing before: %v, boxes %v", err, m.IDs())
	}
	m.FailAfter(OpCreate, broken)
	if _, err := m.Create(s.ctx, o.Request); !errors.Is(err, broken) || len(m.IDs()) != 1 {
		t.Errorf("Create failing after: %v, boxes %v", err, m.IDs())
	}
	b, err := m.Create(s.ctx, o.Request)
	if err != nil {
		t.Fatalf("Create once more: %v", err)
	}
	for op, call := range map[Op]func() error{
		OpGet:       func() error { _, err := m.Get(s.ctx, b.ProviderID); return err },
		OpList:      func() error { _, err := m.List(s.ctx, nil); return err },
		OpSetLabels: func() error { return m.SetLabels(s.ctx, b.ProviderID, b.AllLabels(o.Nonce)) },
		OpOpen: func() error {
			c, err := m.Open(s.ctx, b)
			if err == nil {
				err = c.Close()
			}
			return err
		},
		OpDestroy: func() error { return m.Destroy(s.ctx, b.ProviderID, o.Nonce) },
	} {
		m.FailNext(op, broken)
		if err := call(); !errors.Is(err, broken) {
			t.Errorf("%s: %v", op, err)
		}
		if op != OpDestroy { // which is for the end
			if err := call(); err != nil {
				t.Errorf("%s again: %v", op, err)
			}
			if n := m.Calls(op); n != 2 {
				t.Errorf("%s was called %d times", op, n)
			}
		}
	}
	m.FailAfter(OpDestroy, broken)
	if err := m.Destroy(s.ctx, b.ProviderID, o.Nonce); !errors.Is(err, broken) || len(m.IDs()) != 0 {
		t.Errorf("Destroy failing after: %v, boxes %v", err, m.IDs())
	}
}

func TestMemDelayHonoursContext(t *testing.T) {
	m := NewMem(t)
	s := memSuite(t, m)
	m.Delay(OpCreate, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	m.Before(OpGet, func(context.Context) error { cancel(); return nil })
	done := make(chan error)
	go func() {
		_, err := m.Create(ctx, s.order("web").Request)
		done <- err
	}()
	_, _ = m.Get(t.Context(), "any")
	if err := <-done; !errors.Is(err, context.Canceled) || len(m.IDs()) != 0 {
		t.Errorf("Create: %v, boxes %v", err, m.IDs())
	}
}

func TestMemVanish(t *testing.T) {
	m := NewMem(t)
	s := memSuite(t, m)
	b, err := m.Create(s.ctx, s.order("web").Request)
	if err != nil {
		t.Fatal(err)
	}
	m.Vanish(b.ProviderID)
	if _, err := m.Get(s.ctx, b.ProviderID); !errors.Is(err, fault.NotFound) {
		t.Errorf("Get: %v", err)
	}
	if _, err := m.Open(s.ctx, b); !errors.Is(err, fault.NotFound) {
		t.Errorf("Open: %v", err)
	}
	if boxes, err := m.List(s.ctx, box.Labels{}); err != nil || len(boxes) != 0 {
		t.Errorf("List: %v, %v", boxes, err)
	}
}
