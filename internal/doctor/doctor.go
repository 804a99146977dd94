// Package doctor finds out what is wrong and says what to do: with this machine,
// with what crabbox remembers, and with the members of a crew.
//
// Every check has a stable code, a finding and a remedy; a check whose ground is
// missing is skipped and says so. Only what loses nothing is ever fixed. It
// prints nothing, and sees the mesh only through the agent.
package doctor

import (
	"context"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/agent/client"
	"crabbox/internal/config"
	"crabbox/internal/crew"
	"crabbox/internal/login"
	"crabbox/internal/provider"
	"crabbox/internal/store"
)

// Finding is the outcome of a check.
type Finding string

// The findings. Only Fail means that something asked for does not work.
const (
	OK   Finding = "ok"
	Warn Finding = "warn"
	Fail Finding = "fail"
	Skip Finding = "skip"
)

// Result is one check's outcome.
type Result struct {
	Code    string  `json:"code"`              // stable, for scripts
	Subject string  `json:"subject,omitempty"` // the member, port, provider or crew it is about
	Finding Finding `json:"finding"`
	Detail  string  `json:"detail"`
	Remedy  string  `json:"remedy,omitempty"`
	Fixed   string  `json:"fixed,omitempty"` // what --fix did about it
}

// Surroundings are what the checks look at.
type Surroundings struct {
	Config    *config.Config
	Store     *store.Store
	Keeper    *crew.Keeper
	Login     *login.Dialer
	Providers provider.Registry
	Agent     client.Options
}

// Request says what to examine.
type Request struct {
	Crew     string // with its members; "" for this machine only
	Provider string // only this provider and its members
	Fix      bool
}

// check is one thing to look at. Its key is code and subject.
type check struct {
	code, subject string
	// needs are keys of earlier checks; when one of them failed or was
	// skipped, this one is skipped.
	needs []string
	run   func(context.Context) Result // Code and Subject are filled in
	// fix mends what run found to be less than OK; nil when nothing safe can
	// be done. It says what it did, "" for nothing.
	fix func(context.Context) (string, error)
}

func key(code, subject string) string { return code + " " + subject }

// Examine runs all checks in order and returns their outcomes.
func Examine(ctx context.Context, s Surroundings, r Request) []Result {
	e := &examination{Surroundings: s, request: r, bad: map[string]bool{}}
	defer e.hangUp()
	e.runAll(ctx, e.machine())
	e.runAll(ctx, e.state(ctx))
	if r.Crew != "" {
		e.runAll(ctx, e.members(ctx))
	}
	return e.results
}

// Healthy tells whether no check failed for good.
func Healthy(results []Result) bool {
	for _, r := range results {
		if r.Finding == Fail && r.Fixed == "" {
			return false
		}
	}
	return true
}

// examination is one run of the doctor.
type examination struct {
	Surroundings
	request Request
	results []Result
	bad     map[string]bool // keys of checks that failed or were skipped
	logins  []*ssh.Client   // closed when the examination is over
}

func (e *examination) hangUp() {
	for _, c := range e.logins {
		c.Close()
	}
}

func (e *examination) runAll(ctx context.Context, checks []check) {
	for _, c := range checks {
		if ctx.Err() != nil {
			return
		}
		e.results = append(e.results, e.runOne(ctx, c))
	}
}

func (e *examination) runOne(ctx context.Context, c check) Result {
	for _, need := range c.needs {
		if e.bad[need] {
			e.bad[key(c.code, c.subject)] = true
			return Result{Code: c.code, Subject: c.subject, Finding: Skip, Detail: "not looked at, since " + need + " is not in order"}
		}
	}
	r := c.run(ctx)
	r.Code, r.Subject = c.code, c.subject
	e.bad[key(c.code, c.subject)] = r.Finding == Fail || r.Finding == Skip
	if r.Finding == OK || r.Finding == Skip || c.fix == nil || !e.request.Fix {
		return r
	}
	fixed, err := c.fix(ctx)
	switch {
	case err != nil:
		r.Detail += "; fixing it: " + err.Error()
	case fixed != "":
		r.Fixed = fixed
		delete(e.bad, key(c.code, c.subject))
	}
	return r
}

func ok(detail string) Result           { return Result{Finding: OK, Detail: detail} }
func warn(detail, remedy string) Result { return Result{Finding: Warn, Detail: detail, Remedy: remedy} }
func fail(detail, remedy string) Result { return Result{Finding: Fail, Detail: detail, Remedy: remedy} }
