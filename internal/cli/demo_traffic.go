package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"crabbox/internal/agent/api"
	"crabbox/internal/agent/client"
	"crabbox/internal/fault"
)

// connectAndShow connects the crew, fetches from every member, cuts one
// connection and fetches the same URL again. Without --keep the crew is held
// only as long as this takes, so that a demo that dies leaves no connections.
func (d *demo) connectAndShow(ctx context.Context) error {
	start := time.Now()
	found, err := d.runningAgent(ctx, d.home)
	if err != nil {
		return err
	}
	d.started = found == nil
	if d.agent, err = client.Connect(ctx, d.agentOptions(d.home)); err != nil {
		return err
	}
	if d.keep {
		if _, err := d.agent.ConnectCrew(ctx, d.crew, api.ConnectRequest{}); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	crew := d.watch(ctx)
	defer crew.end()
	now, err := crew.until(ctx, func(c api.Crew) bool { return len(c.Members) == len(d.leases) && c.Usable() })
	if err != nil {
		return err
	}
	d.done(start, "connected: one SSH connection to each box")
	d.out.raw("\n")
	for _, m := range now.Members {
		if err := d.fetch(ctx, m, ""); err != nil {
			return err
		}
	}
	d.out.raw("\n")
	return d.cutAndHeal(ctx, crew, now.Members[slices.IndexFunc(now.Members, func(m api.Member) bool { return m.Slug == "web" })])
}

// cutAndHeal cuts a member's connection and shows that the same URL answers
// again although nobody does anything.
func (d *demo) cutAndHeal(ctx context.Context, crew *watcher, m api.Member) error {
	start := time.Now()
	if err := d.agent.Cut(ctx, d.crew, m.Slug); err != nil {
		return err
	}
	d.done(start, "cut the SSH connection of %s", m.Slug)
	if err := d.fetch(ctx, m, "   (the same URL; the call waited for the new connection)"); err != nil {
		return err
	}
	_, err := crew.until(ctx, func(c api.Crew) bool {
		return slices.ContainsFunc(c.Members, func(now api.Member) bool {
			return now.Slug == m.Slug && now.Heals > m.Heals && now.State == api.LinkUp
		})
	})
	if err != nil {
		return err
	}
	d.out.raw("\n")
	return nil
}

// fetch gets the member's page from its local address.
func (d *demo) fetch(ctx context.Context, m api.Member, remark string) error {
	if len(m.Forwards) == 0 || m.Forwards[0].Local == "" {
		return fault.New(fault.Failed, "", "%s has no local address", m.Slug)
	}
	start := time.Now()
	url := "http://" + m.Forwards[0].Local
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// No proxy, whatever the environment says: the address is on this machine.
	direct := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := direct.Do(request)
	if err != nil {
		return fault.New(fault.Failed, "", "fetch from %s: %w", m.Slug, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err != nil {
		return fault.New(fault.Failed, "", "fetch from %s: %w", m.Slug, err)
	}
	text := strings.TrimSpace(string(body))
	if want := "hello from " + m.Slug; text != want {
		return fault.New(fault.Failed, "", "%s answered %q instead of %q", url, text, want)
	}
	d.done(start, "%s  %s%s", url, text, remark)
	return nil
}

// watcher follows a crew in a goroutine that ends with end.
type watcher struct {
	states chan api.Crew // the newest state; capacity 1
	failed chan error    // why the watch ended; capacity 1
	cancel context.CancelFunc
	done   chan struct{}
}

func (d *demo) watch(ctx context.Context) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{make(chan api.Crew, 1), make(chan error, 1), cancel, make(chan struct{})}
	go func() {
		defer close(w.done)
		w.failed <- d.agent.Watch(ctx, d.crew, api.WatchRequest{Hold: !d.keep}, func(c api.Crew) error {
			select {
			case <-w.states:
			default:
			}
			w.states <- c
			return nil
		})
	}()
	return w
}

func (w *watcher) end() { w.cancel(); <-w.done }

// until waits for a state of the crew; a fault says what was in its way.
func (w *watcher) until(ctx context.Context, reached func(api.Crew) bool) (api.Crew, error) {
	var last api.Crew
	for {
		select {
		case last = <-w.states:
			if reached(last) {
				return last, nil
			}
		case err := <-w.failed:
			return last, err
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return last, ctx.Err()
			}
			why := "the agent says nothing"
			if all := troubles(last); len(all) > 0 {
				why = all[0].who + ": " + all[0].reason
			}
			return last, fault.New(fault.Timeout, "crabbox doctor --crew "+last.Name+" says more.", "the demo's crew did not become usable: %s", why)
		}
	}
}
