//go:build unix

package session

import (
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// sizeHints gives a value whenever the terminal's size may have changed.
func sizeHints() (hints <-chan os.Signal, stop func()) {
	winch := make(chan os.Signal, 1)
	signal.Notify(winch, unix.SIGWINCH)
	return winch, func() { signal.Stop(winch) }
}

// interpretScreen has nothing to do: every terminal here knows control sequences.
func interpretScreen(io.Writer) (undo func()) { return func() {} }
