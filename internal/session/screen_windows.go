package session

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// sizeHints gives a value whenever the console's size may have changed: the
// system sends no signal, so it is asked twice a second.
func sizeHints() (hints <-chan time.Time, stop func()) {
	beat := time.NewTicker(500 * time.Millisecond)
	return beat.C, beat.Stop
}

// interpretScreen makes the console act on control sequences, which it prints
// as they are otherwise.
func interpretScreen(w io.Writer) (undo func()) {
	f, ok := w.(*os.File)
	if !ok {
		return func() {}
	}
	console := windows.Handle(f.Fd())
	var mode uint32
	if windows.GetConsoleMode(console, &mode) != nil {
		return func() {}
	}
	windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING)
	return func() { windows.SetConsoleMode(console, mode) }
}
