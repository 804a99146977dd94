package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"crabbox/internal/agent/client"
	"crabbox/internal/box"
	"crabbox/internal/crew"
	"crabbox/internal/fault"
	"crabbox/internal/session"
	"crabbox/internal/store"
)

var demoMembers = []string{"web", "api", "db"}

const (
	demoPort = 8080
	// demoTTL ends the boxes of a demo that could not clean up.
	demoTTL  = 30 * time.Minute
	demoTime = 60 * time.Second // for the connections and services to come up
)

func (a *app) demoCommand() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Three local boxes, real traffic, a cut connection that heals, clean-up",
		Args:  between(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := a.open()
			if err != nil {
				return err
			}
			d := &demo{app: a, home: h, keep: keep}
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the crew up and say what to try")
	return cmd
}

// demo is one run of crabbox demo.
type demo struct {
	*app
	home    *home
	keep    bool
	crew    string
	agent   *client.Client
	started bool // the agent was not there before; it is being or has been started
	leases  []store.Lease
	began   time.Time
}

func (d *demo) run(ctx context.Context) (err error) {
	d.began = time.Now()
	d.out.line("Three boxes on this machine, each with a web server:")
	d.out.raw("\n")
	defer func() {
		if err == nil && d.keep {
			d.whatToTry()
			return
		}
		if err = errors.Join(err, d.cleanUp(ctx)); err == nil {
			d.out.raw("\n")
			d.out.line("All of it took %.1f s.", time.Since(d.began).Seconds())
		}
	}()
	for _, step := range []func(context.Context) error{d.lease, d.startServices, d.connectAndShow} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// done prints one line of the transcript: what was done and how long it took.
func (d *demo) done(since time.Time, format string, args ...any) {
	d.out.line("  %s %s", fmt.Sprintf("%6d ms ", time.Since(since).Milliseconds()), cleaned(format, args...))
}

// lease warms up the members side by side in a crew of a name that is free.
// The store's lock keeps two demos from choosing the same one.
func (d *demo) lease(ctx context.Context) error {
	start := time.Now()
	unlock, err := d.home.store.Lock(ctx, "demo")
	if err != nil {
		return err
	}
	defer unlock()
	if d.crew, err = d.freeName(ctx); err != nil {
		return err
	}
	leases, errs := make([]store.Lease, len(demoMembers)), make([]error, len(demoMembers))
	var all sync.WaitGroup
	for i, slug := range demoMembers {
		all.Go(func() {
			leases[i], errs[i] = d.home.keeper.Warmup(ctx, crew.Order{
				Provider: "local", Crew: d.crew, Slug: slug, TTL: demoTTL,
				Expose: []box.Port{{Number: demoPort, Proto: box.TCP}},
			}, d.out.progress)
		})
	}
	all.Wait()
	for i, l := range leases {
		if errs[i] == nil {
			d.leases = append(d.leases, l)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.done(start, "leased %s in crew %s", strings.Join(demoMembers, ", "), d.crew)
	if note := d.leases[0].Box.Note; note != "" {
		d.out.say("%s: %s", d.leases[0].Box.Slug, note)
	}
	return nil
}

// shared tells whether the boxes share this machine's loopback: local boxes
// have something to note exactly when they could not be isolated.
func (d *demo) shared() bool {
	return slices.ContainsFunc(d.leases, func(l store.Lease) bool { return l.Box.Note != "" })
}

// freeName finds a crew without members, so that a demo never touches boxes
// that it did not make.
func (d *demo) freeName(ctx context.Context) (string, error) {
	for i := 1; ; i++ {
		name := "demo"
		if i > 1 {
			name = fmt.Sprintf("demo-%d", i)
		}
		leases, _, err := d.home.keeper.List(ctx, crew.Filter{Crew: name}, false)
		if err != nil || len(leases) == 0 {
			return name, err
		}
	}
}

// startServices starts this very program as a web server inside each box; it
// goes on when the connection that started it ends.
func (d *demo) startServices(ctx context.Context) error {
	start := time.Now()
	errs := make([]error, len(d.leases))
	var all sync.WaitGroup
	for i := range d.leases {
		all.Go(func() { errs[i] = d.startService(ctx, &d.leases[i]) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if !d.shared() {
		d.done(start, "started a web server in each, all on port %d", demoPort)
		return nil
	}
	var ports []string
	for _, l := range d.leases {
		ports = append(ports, l.Box.Expose[0].String())
	}
	d.done(start, "started a web server in each, on ports %s since these boxes share one loopback", strings.Join(ports, ", "))
	return nil
}

// startService starts one box's web server. On a shared loopback it takes a
// free port, which the lease then exposes instead.
func (d *demo) startService(ctx context.Context, l *store.Lease) error {
	c, err := d.connect(ctx, d.home, *l)
	if err != nil {
		return err
	}
	defer c.Close()
	port := demoPort
	if d.shared() {
		port = 0
	}
	var said, talk strings.Builder
	line := fmt.Sprintf(`nohup "$CRABBOX_EXE" __serve --listen 127.0.0.1:%d %s </dev/null &`, port, session.Quote("hello from "+l.Box.Slug))
	code, err := session.Run(ctx, c, session.Command{Line: line, Stdout: &said, Stderr: &talk})
	if err != nil {
		return err
	}
	bound, err := box.ParsePort(strings.TrimSpace(said.String()))
	if code != 0 || err != nil {
		return fault.New(fault.Failed, "", "the web server of %s did not start (code %d): %s", l.Box.Slug, code, strings.TrimSpace(talk.String()))
	}
	if port == 0 {
		*l, err = d.home.keeper.SetExpose(ctx, *l, []box.Port{bound})
	}
	return err
}

// cleanUp removes everything that the demo made, also after Ctrl-C.
func (d *demo) cleanUp(ctx context.Context) error {
	start := time.Now()
	results := d.releaseQuietly(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	var errs []error
	for i, err := range results {
		if err != nil {
			l := d.leases[i].Box
			errs = append(errs, fault.New(fault.Partial, "crabbox release "+string(l.ID)+" tries again.", "%s was not released: %w", l.Slug, err))
		}
	}
	d.leasesChanged(ctx, d.home)
	errs = append(errs, d.stopAgent(ctx))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.done(start, "removed everything")
	return nil
}

// stopAgent ends the agent when the demo started it and nobody else uses it by
// now. A demo that was interrupted while it started one waits for it first.
func (d *demo) stopAgent(ctx context.Context) (err error) {
	if !d.started {
		return nil
	}
	if d.agent == nil {
		if d.agent, err = client.Connect(ctx, d.agentOptions(d.home)); err != nil {
			return err
		}
	}
	// The agent may not have noticed yet that the demo let go of its crew.
	if _, err := d.agent.Disconnect(ctx, d.crew); err != nil && !errors.Is(err, fault.NotFound) {
		return err
	}
	crews, err := d.agent.Crews(ctx)
	if err != nil || len(crews) > 0 {
		return err
	}
	return d.agent.Stop(ctx)
}

func (d *demo) releaseQuietly(ctx context.Context) []error {
	errs := make([]error, len(d.leases))
	var all sync.WaitGroup
	for i, l := range d.leases {
		all.Go(func() { errs[i] = d.releaseOne(ctx, d.home, l) })
	}
	all.Wait()
	return errs
}

// webVariable is the variable of the env file that has web's address.
func (d *demo) webVariable() string {
	i := slices.IndexFunc(d.leases, func(l store.Lease) bool { return l.Box.Slug == "web" })
	return "CRABBOX_CREW_WEB_" + d.leases[i].Box.Expose[0].String()
}

func (d *demo) whatToTry() {
	d.out.raw("\n")
	d.out.line("The crew stays up. Try:")
	for _, line := range []string{
		"crabbox crew status " + d.crew,
		`eval "$(crabbox crew connect ` + d.crew + ` --export)"; curl "http://$` + d.webVariable() + `"`,
		"crabbox ssh web." + d.crew,
		"crabbox release --crew " + d.crew,
	} {
		d.out.line("  %s", line)
	}
}
