package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"crabbox/internal/agent/api"
)

// Watch calls seen for each state of the crew until ctx ends, seen returns an
// error, or the agent is gone (then it returns an error of kind NotFound that
// wraps ErrGone; the caller may Connect and Watch again). A crew that somebody
// disconnects ends its watchers with an error of kind Conflict. Watching a crew
// that is not connected, without Hold, is NotFound.
func (c *Client) Watch(ctx context.Context, name string, r api.WatchRequest, seen func(api.Crew) error) error {
	answer, err := c.openWatch(ctx, name, r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines := json.NewDecoder(answer.Body)
	for {
		var event api.Event
		switch err := lines.Decode(&event); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return c.lost(ctx, err)
		case event.End != nil:
			return failure(*event.End)
		case event.Crew != nil:
			if err := seen(*event.Crew); err != nil {
				return err
			}
		}
	}
}

// openWatch opens the stream, starting the agent as call does.
func (c *Client) openWatch(ctx context.Context, name string, r api.WatchRequest) (*http.Response, error) {
	for range startAgain {
		answer, err := c.send(ctx, api.PathWatch, r, "{crew}", name)
		if !c.starts || !errors.Is(err, ErrGone) {
			return answer, err
		}
		if err := c.start(ctx); err != nil {
			return nil, err
		}
	}
	return c.send(ctx, api.PathWatch, r, "{crew}", name)
}
