package cli

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"crabbox/internal/fault"
	"crabbox/internal/login"
)

// interactive tells whether a person can be asked: stdin and stderr are
// terminals.
func (a *app) interactive() bool { return isTerminal(a.io.In) && a.out.errTTY && !a.out.json }

// asker asks for secrets on the terminal; nil where there is nobody to ask.
func (a *app) asker() login.Asker {
	if !a.interactive() {
		return nil
	}
	terminal := int(a.io.In.(*os.File).Fd())
	return func(ctx context.Context, prompt string) ([]byte, error) {
		// Raw before the prompt, so that nothing is echoed of what is typed at once.
		before, err := term.MakeRaw(terminal)
		if err != nil {
			return nil, err
		}
		restore := func() { term.Restore(terminal, before) }
		secret, err := await(ctx, func() ([]byte, error) {
			defer restore()
			line, err := term.NewTerminal(struct {
				io.Reader
				io.Writer
			}{a.io.In, a.out.err}, "").ReadPassword(strings.TrimSpace(clean(prompt)) + " ")
			return []byte(line), err
		}, restore)
		if errors.Is(err, io.EOF) {
			return nil, interrupt(ctx)
		}
		return secret, err
	}
}

// interrupt does for Ctrl-C, a plain key in raw mode, what the terminal would
// have done, and returns when that has reached ctx.
func interrupt(ctx context.Context) error {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Signal(os.Interrupt)
	}
	if err != nil { // Windows cannot
		return context.Canceled
	}
	<-ctx.Done()
	return ctx.Err()
}

// confirm asks a yes-or-no question; only yes is yes.
func (a *app) confirm(ctx context.Context, question string) (bool, error) {
	a.out.write(a.out.err, clean(question)+" [y/N] ")
	answer, err := await(ctx, func() ([]byte, error) {
		line, err := bufio.NewReader(a.io.In).ReadString('\n')
		if err == io.EOF {
			err = nil
		}
		return []byte(line), err
	}, func() {})
	if err != nil {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(string(answer))) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

// await reads from the terminal until ctx ends. A read of a terminal cannot be
// interrupted, so its goroutine may outlive the answer; the program ends soon
// after, and undo has put the terminal right.
func await(ctx context.Context, read func() ([]byte, error), undo func()) ([]byte, error) {
	type answer struct {
		text []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := read()
		answers <- answer{text, err}
	}()
	select {
	case got := <-answers:
		if got.err != nil {
			return nil, fault.New(fault.Failed, "", "the terminal gave no answer: %w", got.err)
		}
		return got.text, nil
	case <-ctx.Done():
		undo()
		return nil, ctx.Err()
	}
}
