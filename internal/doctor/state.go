package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"crabbox/internal/agent/api"
	"crabbox/internal/agent/client"
	"crabbox/internal/box"
	"crabbox/internal/crew"
	"crabbox/internal/fault"
	"crabbox/internal/store"
)

// brokenKept is how long a file that was set aside is kept for a look.
const brokenKept = 7 * 24 * time.Hour

// state are the checks of what crabbox remembers and of the agent.
func (e *examination) state(ctx context.Context) []check {
	checks := []check{
		{code: "records", run: e.recordsReadable, fix: e.removeOldBroken},
		{code: "agent", run: e.agentAnswers, fix: e.startAgent},
		{code: "crew-files", run: e.crewFiles, fix: e.removeCrewFiles},
	}
	leases, _, err := e.Keeper.List(ctx, crew.Filter{Provider: e.request.Provider}, false)
	if err != nil {
		return append(checks, check{code: "leases", run: func(context.Context) Result { return fail(err.Error(), fault.RemedyOf(err)) }})
	}
	for _, l := range leases {
		if over := e.leaseIsOver(l); over != "" {
			checks = append(checks, check{
				code: "lease", subject: l.Box.Slug + " (" + string(l.Box.ID) + ")",
				run: func(context.Context) Result { return warn(over, "crabbox release "+string(l.Box.ID)) },
				fix: func(ctx context.Context) (string, error) { return "released it", e.Keeper.Release(ctx, l) },
			})
		}
	}
	return checks
}

// leaseIsOver says why nobody can want this lease any more, "" when somebody may.
func (e *examination) leaseIsOver(l store.Lease) string {
	switch {
	case l.Box.State == box.Gone:
		return "its box is gone; only the record is left"
	case l.Box.Expired(time.Now()):
		return "its time is over since " + l.Box.Expires.Local().Format(time.DateTime)
	case l.Box.State == box.Creating && !e.Store.LeaseHeld(l.Box.ID):
		return "its warmup did not finish"
	}
	return ""
}

func (e *examination) recordsReadable(context.Context) Result {
	_, broken, err := e.Store.Leases()
	if err != nil {
		return fail(err.Error(), fault.RemedyOf(err))
	}
	_, more, err := e.Store.Wanted()
	if err != nil {
		return fail(err.Error(), fault.RemedyOf(err))
	}
	for _, b := range append(broken, more...) {
		if b.Aside == "" {
			return fail(b.Path+" cannot be read: "+b.Reason, "Look at it; its box may still exist.")
		}
	}
	if aside := e.brokenFiles(); len(aside) > 0 {
		return warn("set aside, since they could not be read: "+strings.Join(aside, ", "), "Look at them and remove them; boxes they stood for may still exist at their provider.")
	}
	return ok("every record can be read")
}

// brokenFiles are the records that were set aside.
func (e *examination) brokenFiles() []string {
	var found []string
	_ = filepath.WalkDir(e.Store.Path(), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil
		case d.IsDir() && path == e.Store.Path("providers"):
			return fs.SkipDir // boxes' own files are there
		case !d.IsDir() && strings.HasSuffix(path, ".broken"):
			found = append(found, path)
		}
		return nil
	})
	return found
}

func (e *examination) removeOldBroken(context.Context) (string, error) {
	removed := 0
	for _, path := range e.brokenFiles() {
		if info, err := os.Lstat(path); err != nil || !isOld(info, brokenKept) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return "", err
		}
		removed++
	}
	if removed == 0 {
		return "", nil
	}
	return fmt.Sprintf("removed %d that were older than a week", removed), nil
}

// agentAnswers finds three things wrong: a socket that nobody answers on,
// crews that are wanted with no agent to connect them, and another version.
func (e *examination) agentAnswers(ctx context.Context) Result {
	version := ""
	options := e.Agent
	options.Warn = func(text string) { version = text }
	c, err := client.Find(ctx, options)
	if errors.Is(err, fault.NotFound) {
		wanted, _, err := e.Store.Wanted()
		if err != nil {
			return fail(err.Error(), fault.RemedyOf(err))
		}
		if len(wanted) > 0 {
			return warn("it does not run although crews are wanted connected; it was killed", "Any crabbox crew command starts it, and it puts them back.")
		}
		if _, err := os.Lstat(e.Store.Path(api.SocketFile)); err == nil {
			return warn("nobody answers on its socket; it was killed", "Nothing to do: the next agent replaces the socket.")
		}
		return ok("it does not run; it starts when a crew is connected")
	}
	if err != nil {
		return fail(err.Error(), fault.RemedyOf(err))
	}
	v, err := c.Version(ctx)
	switch {
	case err != nil:
		return fail(err.Error(), fault.RemedyOf(err))
	case version != "":
		return warn(version, "crabbox agent stop ends it; crews that are wanted come back with the next one.")
	}
	return ok(fmt.Sprintf("process %d runs since %s", v.PID, v.Started.Local().Format(time.DateTime)))
}

// startAgent puts back wanted crews and replaces a stale socket. It leaves an
// agent of another version alone, since its connections may be in use.
func (e *examination) startAgent(ctx context.Context) (string, error) {
	if _, err := client.Find(ctx, e.Agent); err == nil || !errors.Is(err, fault.NotFound) {
		return "", err
	}
	_, err := client.Connect(ctx, e.Agent)
	return "started it", err
}

func (e *examination) crewFiles(ctx context.Context) Result {
	stale, err := e.staleCrewDirs(ctx)
	if err != nil {
		return fail(err.Error(), fault.RemedyOf(err))
	}
	if len(stale) > 0 {
		return warn("files of crews that are not connected: "+strings.Join(stale, ", "), "crabbox doctor --fix removes them.")
	}
	return ok("no files of crews that are not connected")
}

func (e *examination) removeCrewFiles(ctx context.Context) (string, error) {
	stale, err := e.staleCrewDirs(ctx)
	for _, name := range stale {
		err = errors.Join(err, os.RemoveAll(e.Store.CrewDir(name)))
	}
	return "removed them", err
}

// staleCrewDirs are folders of crews that are neither connected nor wanted.
func (e *examination) staleCrewDirs(ctx context.Context) ([]string, error) {
	entries, err := os.ReadDir(e.Store.Path("crew"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var used []string
	wanted, _, err := e.Store.Wanted()
	if err != nil {
		return nil, err
	}
	for _, w := range wanted {
		used = append(used, w.Crew)
	}
	if c, err := client.Find(ctx, e.Agent); err == nil {
		crews, err := c.Crews(ctx)
		if err != nil {
			return nil, err
		}
		for _, c := range crews {
			used = append(used, c.Name)
		}
	}
	var stale []string
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() && box.CheckName("crew", name) == nil && !slices.Contains(used, name) {
			stale = append(stale, name)
		}
	}
	return stale, nil
}
