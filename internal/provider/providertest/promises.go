package providertest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

// create: the box has the names it was ordered with, and Get knows it.
func create(s *suite) {
	o := s.order("made")
	b := s.create(o)
	s.same("Create", b, o.Box)
	if b.State != box.Running && b.State != box.Creating {
		s.Errorf("Create: state %q", b.State)
	}
	got, err := s.New(s.T).Get(s.ctx, b.ProviderID)
	if err != nil {
		s.Fatalf("Get from another process: %v", err)
	}
	s.same("Get", got, o.Box)
	if got.ProviderID != b.ProviderID {
		s.Errorf("Get: provider id %q, Create said %q", got.ProviderID, b.ProviderID)
	}
}

// createAgain: the same id twice is the same box.
func createAgain(s *suite) {
	o := s.order("twice")
	first := s.create(o)
	second, err := s.New(s.T).Create(s.ctx, o.Request)
	if err != nil {
		s.Fatalf("the second Create: %v", err)
	}
	if second.ProviderID != first.ProviderID {
		s.Errorf("two boxes: %s and %s", first.ProviderID, second.ProviderID)
	}
	if ids := s.list(box.Labels{box.KeyLease: string(o.Box.ID)}); !slices.Equal(ids, []string{first.ProviderID}) {
		s.Errorf("List: %v, want only %s", ids, first.ProviderID)
	}
}

// createOnce: so it is when many ask at once.
func createOnce(s *suite) {
	const many = 4
	o := s.order("once")
	s.destroyLater(o)
	providers := make([]provider.Provider, many)
	for i := range providers {
		providers[i] = s.New(s.T)
	}
	boxes, errs := make([]box.Box, many), make([]error, many)
	together(many, func(i int) { boxes[i], errs[i] = providers[i].Create(s.ctx, o.Request) })
	for i := range many {
		if errs[i] != nil {
			s.Errorf("Create %d: %v", i, errs[i])
		} else if boxes[i].ProviderID != boxes[0].ProviderID {
			s.Errorf("Create %d: box %s, the first had %s", i, boxes[i].ProviderID, boxes[0].ProviderID)
		}
	}
	if ids := s.list(box.Labels{box.KeyLease: string(o.Box.ID)}); len(ids) != 1 {
		s.Errorf("List: %v, want one box", ids)
	}
}

// createCancelled: whoever stops waiting, at whatever moment, leaves nothing.
func createCancelled(s *suite) {
	began := time.Now()
	whole := s.create(s.order("whole"))
	duration := time.Since(began)
	for _, part := range []time.Duration{0, duration / 8, duration / 4, duration / 2, duration * 3 / 4} {
		o := s.order("cut")
		s.destroyLater(o)
		ctx, cancel := context.WithTimeout(s.ctx, part)
		b, err := s.p.Create(ctx, o.Request)
		cancel()
		ids := s.list(box.Labels{box.KeyLease: string(o.Box.ID)})
		switch {
		case err == nil && !slices.Equal(ids, []string{b.ProviderID}):
			s.Errorf("after %v: Create was done in time, and List has %v", part, ids)
		case err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, fault.Timeout):
			s.Errorf("after %v: %v does not say that the time was over", part, err)
		case err != nil && len(ids) > 0:
			s.Errorf("after %v: Create failed (%v) and left %v", part, err, ids)
		}
	}
	if _, err := s.p.Get(s.ctx, whole.ProviderID); err != nil {
		s.Errorf("the box beside: %v", err)
	}
}

// createForeign: an id that another attempt has is not handed out. Providers
// that keep no nonce before the box runs may make it, but never as the same box.
func createForeign(s *suite) {
	o := s.order("held")
	s.create(o)
	o.Nonce = box.NewNonce()
	_, err := s.New(s.T).Create(s.ctx, o.Request)
	s.kind("Create with another nonce", err, fault.Conflict)
}

// getUnknown: what never was is not found.
func getUnknown(s *suite) {
	o := s.order("gone")
	b := s.create(o)
	if err := s.p.Destroy(s.ctx, b.ProviderID, o.Nonce); err != nil {
		s.Fatalf("Destroy: %v", err)
	}
	_, err := s.p.Get(s.ctx, b.ProviderID)
	s.kind("Get after Destroy", err, fault.NotFound)
}

// listMatches: by the user's labels and by ours, all of them.
func listMatches(s *suite) {
	web, db := s.order("web"), s.order("db")
	db.Box.Crew, db.Box.Labels = "other", box.Labels{"purpose": "storage"}
	first, second := s.create(web).ProviderID, s.create(db).ProviderID
	for _, row := range []struct {
		what       string
		match      box.Labels
		web, other bool
	}{
		{"everything", nil, true, true},
		{"owner", box.Labels{box.KeyOwner: "me"}, true, true},
		{"crew", box.Labels{box.KeyCrew: "other"}, false, true},
		{"slug", box.Labels{box.KeySlug: "web"}, true, false},
		{"nonce", box.Labels{box.KeyNonce: web.Nonce}, true, false},
		{"lease", box.Labels{box.KeyLease: string(db.Box.ID)}, false, true},
		{"user's label", box.Labels{"purpose": "storage"}, false, true},
		{"both of two", box.Labels{box.KeySlug: "web", box.KeyCrew: "other"}, false, false},
		{"unknown", box.Labels{"no-such": "label"}, false, false},
	} {
		ids := s.list(row.match)
		if slices.Contains(ids, first) != row.web || slices.Contains(ids, second) != row.other {
			s.Errorf("List by %s: %v, where web is %s and db is %s", row.what, ids, first, second)
		}
	}
}

// labelsRoundTrip: List tells as much of a box as was ordered.
func labelsRoundTrip(s *suite) {
	o := s.order("trip")
	for n := range uint16(40) { // more ports than one label holds
		o.Box.Expose = append(o.Box.Expose, box.Port{Number: 20000 + n, Proto: box.TCP})
	}
	box.SortPorts(o.Box.Expose)
	s.create(o)
	boxes, err := s.New(s.T).List(s.ctx, box.Labels{box.KeyLease: string(o.Box.ID)})
	if err != nil || len(boxes) != 1 {
		s.Fatalf("List: %d boxes, %v", len(boxes), err)
	}
	s.same("List", boxes[0], o.Box)
}

// setLabels: the new set replaces the old one, or the provider says that it
// cannot; then nothing has changed.
func setLabels(s *suite) {
	o := s.order("old")
	b := s.create(o)
	wanted := o.Box
	wanted.Role, wanted.Expose = "changed", []box.Port{{Number: 9090, Proto: box.TCP}}
	wanted.Labels = box.Labels{"purpose": "changed"}
	err := s.p.SetLabels(s.ctx, b.ProviderID, wanted.AllLabels(o.Nonce))
	if errors.Is(err, fault.Unsupported) {
		wanted = o.Box
	} else if err != nil {
		s.Fatalf("SetLabels: %v", err)
	}
	got, err := s.New(s.T).Get(s.ctx, b.ProviderID)
	if err != nil {
		s.Fatalf("Get: %v", err)
	}
	s.same("Get after SetLabels", got, wanted)
	if ids := s.list(box.Labels{"purpose": wanted.Labels["purpose"], box.KeyLease: string(o.Box.ID)}); len(ids) != 1 {
		s.Errorf("List by the label as it is now: %v", ids)
	}
}

// logIn: the endpoint is where the lease's key is let in, and runs commands.
func logIn(s *suite) {
	o := s.order("login")
	b := s.create(o)
	if o.host != nil && !slices.Equal(b.Endpoint.HostKey.Keys, []string{keyLine(o.host.PublicKey())}) {
		s.Errorf("the endpoint's host keys are %q, the request's is %q", b.Endpoint.HostKey.Keys, keyLine(o.host.PublicKey()))
	}
	if !b.Endpoint.Can.Exec {
		return
	}
	session, err := s.login(b, o).NewSession()
	if err != nil {
		s.Fatal(err)
	}
	defer session.Close()
	session.Stdin = bytes.NewReader(nil)
	out, err := session.Output("echo crab-$((40 + 2))")
	if err != nil || string(bytes.TrimSpace(out)) != "crab-42" {
		s.Errorf("a command on the box said %q, %v", out, err)
	}
}

// destroyForeign: without the nonce nothing is destroyed.
func destroyForeign(s *suite) {
	o := s.order("ours")
	b := s.create(o)
	for _, nonce := range []string{"", box.NewNonce()} {
		s.kind("Destroy with another nonce", s.New(s.T).Destroy(s.ctx, b.ProviderID, nonce), fault.NotOurs)
	}
	if _, err := s.p.Get(s.ctx, b.ProviderID); err != nil {
		s.Errorf("the box did not survive: %v", err)
	}
}

// destroyTwice: gone already is success, also for two at once.
func destroyTwice(s *suite) {
	o := s.order("over")
	b := s.create(o)
	other := s.New(s.T)
	errs := make([]error, 2)
	together(2, func(i int) { errs[i] = []provider.Provider{s.p, other}[i].Destroy(s.ctx, b.ProviderID, o.Nonce) })
	if err := errors.Join(errs...); err != nil {
		s.Errorf("Destroy, two at once: %v", err)
	}
	if err := s.p.Destroy(s.ctx, b.ProviderID, o.Nonce); err != nil {
		s.Errorf("Destroy again: %v", err)
	}
	if ids := s.list(nil); slices.Contains(ids, b.ProviderID) {
		s.Errorf("List still has %s", b.ProviderID)
	}
}

// endsByItself: with Can.TTL, a box is gone soon after its time without a word
// from us. Others keep it until somebody asks.
func endsByItself(s *suite) {
	o := s.order("brief")
	o.Box.Expires = time.Now().Add(3 * time.Second).Truncate(time.Second).UTC()
	if !s.Descriptor.Can.TTL {
		o.Box.Expires = time.Now().Add(-time.Minute).Truncate(time.Second).UTC()
		b := s.create(o)
		if _, err := s.p.Get(s.ctx, b.ProviderID); err != nil {
			s.Errorf("a box that cannot end by itself: %v", err)
		}
		return
	}
	b := s.create(o)
	for {
		_, err := s.p.Get(s.ctx, b.ProviderID)
		if errors.Is(err, fault.NotFound) {
			break
		}
		if err != nil {
			s.Fatalf("Get: %v", err)
		}
		select {
		case <-s.ctx.Done():
			s.Fatalf("the box outlived its time, which was over at %v", o.Box.Expires)
		case <-time.After(20 * time.Millisecond):
		}
	}
	if early := time.Until(o.Box.Expires); early > 0 {
		s.Errorf("the box ended %v too early", early)
	}
}
