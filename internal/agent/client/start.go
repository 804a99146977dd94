package client

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"crabbox/internal/agent/api"
	"crabbox/internal/fault"
)

const (
	startTime = 15 * time.Second // for a new agent to answer
	startPoll = 5 * time.Millisecond
	startTail = 2 << 10 // of the log is shown when the agent died
)

// start runs `crabbox agent run` in a session of its own and returns when some
// agent answers. Several commands may do so at once: one of the new agents wins
// the lock, the others see it answer and end, and every command is served.
func (c *Client) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTime,
		fault.New(fault.Timeout, "See "+api.LogFile+" in the state folder.", "the new agent does not answer within %v", startTime))
	defer cancel()
	if err := CheckSocket(c.socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	log, err := os.OpenFile(filepath.Join(c.o.Home, api.LogFile), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return fault.New(fault.Failed, "Set CRABBOX_HOME to a folder of your own that can be written to.", "start the agent: %w", err)
	}
	defer log.Close()
	before, _ := log.Seek(0, io.SeekEnd)

	cmd := exec.Command(c.o.Executable, "agent", "run")
	cmd.Env = append(os.Environ(), "CRABBOX_HOME="+c.o.Home)
	cmd.Stdout, cmd.Stderr = log, log
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return fault.New(fault.Failed, "Install crabbox anew if its file was moved or removed.", "start the agent: %w", err)
	}
	// The agent outlives this process, so nobody waits for this goroutine: it
	// ends with the agent or with us, and only keeps a dead agent from staying
	// a zombie of ours.
	died := make(chan error, 1)
	go func() { died <- cmd.Wait() }()
	for {
		if pid, ok := c.answers(ctx); ok {
			if pid != cmd.Process.Pid { // ours came late for the lock
				cmd.Process.Kill()
			}
			return nil
		}
		select {
		case err := <-died:
			// One that lost the race for the lock ends when the winner answers.
			if _, ok := c.answers(ctx); ok {
				return nil
			}
			return c.stillborn(log, before, err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(startPoll):
		}
	}
}

// answers tells whether an agent answers, and its process.
func (c *Client) answers(ctx context.Context) (pid int, ok bool) {
	var v api.Version
	if err := c.deliver(ctx, api.PathVersion, nil, &v); err != nil {
		return 0, false
	}
	c.compare(v)
	return v.PID, true
}

// stillborn reports an agent that died before it answered, with its last words.
func (c *Client) stillborn(log *os.File, from int64, err error) error {
	end, _ := log.Seek(0, io.SeekEnd)
	from = max(from, end-startTail)
	words := make([]byte, max(0, end-from))
	n, _ := log.ReadAt(words, from)
	var last []string
	for line := range strings.Lines(string(words[:n])) {
		if line = printable(strings.TrimSpace(line)); line != "" {
			last = append(last, line)
		}
	}
	text := strings.Join(last[max(0, len(last)-3):], " / ")
	if err == nil {
		err = errors.New("it ended by itself")
	}
	if text == "" {
		text = "it said nothing"
	}
	return fault.New(fault.Failed, "Run crabbox agent run in a terminal to see more, or look at "+api.LogFile+" in the state folder.",
		"the agent died when it was started (%w): %s", err, text)
}

// pause waits for d or for ctx to end.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
