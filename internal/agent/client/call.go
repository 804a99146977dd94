package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"crabbox/internal/agent/api"
	"crabbox/internal/fault"
)

// startAgain is how often one call may meet an agent that is just ending.
const startAgain = 3

// call makes one call and decodes the answer into out. When no agent answers
// and the client may start one, it does so and calls again: all calls may be
// repeated.
func (c *Client) call(ctx context.Context, path string, body, out any, names ...string) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	for range startAgain {
		err := c.deliver(ctx, path, body, out, names...)
		if !c.starts || !errors.Is(err, ErrGone) {
			return err
		}
		if err := c.start(ctx); err != nil {
			return err
		}
	}
	return c.deliver(ctx, path, body, out, names...)
}

// deliver makes one call to the agent that runs now.
func (c *Client) deliver(ctx context.Context, path string, body, out any, names ...string) error {
	answer, err := c.send(ctx, path, body, names...)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(answer.Body).Decode(out); err != nil {
		return c.lost(ctx, err)
	}
	return nil
}

// send makes one request; the answer is a success whose body the caller closes.
// names are the path's wildcards with their values.
func (c *Client) send(ctx context.Context, path string, body any, names ...string) (*http.Response, error) {
	method, where, _ := strings.Cut(path, " ")
	for i := 0; i < len(names); i += 2 {
		where = strings.Replace(where, names[i], url.PathEscape(names[i+1]), 1)
	}
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+where, payload)
	if err != nil {
		return nil, fault.New(fault.Usage, "", "call the agent: %w", err)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, c.lost(ctx, err)
	}
	if answer.StatusCode/100 == 2 {
		return answer, nil
	}
	defer answer.Body.Close()
	var e api.Error
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&e); err != nil || e.Message == "" {
		e = api.Error{Message: "the agent answered " + printable(answer.Status), Remedy: "crabbox agent stop ends it, and the next command starts a new one."}
	}
	return nil, failure(e)
}

// failure is what the agent said; one that is ending is as good as gone.
func failure(e api.Error) error {
	if fault.Kind(e.Kind) == api.Ending {
		return gone(errors.New(e.Message))
	}
	return e.Fault()
}

// lost tells why a call broke off.
func (c *Client) lost(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return e // the socket was not to be used
	}
	switch cause := ctx.Err(); {
	case errors.Is(cause, context.DeadlineExceeded):
		return fault.New(fault.Timeout, "See "+api.LogFile+" in the state folder; end the process whose id is in agent.lock if it hangs.", "the agent does not answer: %w", cause)
	case cause != nil:
		return cause
	}
	return gone(err)
}

func gone(err error) error {
	return fault.New(fault.NotFound, "The next command that needs it starts one.", "%w", goneError{err})
}

// goneError is ErrGone with what was seen of it.
type goneError struct{ cause error }

func (e goneError) Error() string   { return ErrGone.Error() + ": " + e.cause.Error() }
func (e goneError) Unwrap() []error { return []error{ErrGone, e.cause} }

// printable keeps foreign text from a terminal's controls.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}
