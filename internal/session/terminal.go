package session

import (
	"cmp"
	"errors"
	"os"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"crabbox/internal/fault"
)

// errGivenUp is what a Read of an input says that was given up.
var errGivenUp = errors.New("reading was given up")

// terminal is the local end of a pseudo-terminal. With no terminal of our own
// all its methods do nothing.
type terminal struct {
	screen *os.File // where the size is asked; nil: no terminal
	width  int      // as the box knows it
	height int

	once sync.Once
	undo func() // back from raw mode; nil: never left
}

// requestTerminal asks for a pseudo-terminal of the local one's size.
func (k *call) requestTerminal(cmd Command) error {
	_, width, height := screen(cmd)
	// TERMINAL_MODES: pairs of an opcode and a number, ended by 0.
	var modes []byte
	for _, m := range []struct {
		Opcode byte
		Value  uint32
	}{{ssh.ECHO, 1}, {ssh.IUTF8, 1}, {ssh.TTY_OP_ISPEED, 38400}, {ssh.TTY_OP_OSPEED, 38400}} {
		modes = append(modes, ssh.Marshal(m)...)
	}
	return k.request("pty-req", ssh.Marshal(struct {
		Term                                     string
		Columns, Rows, WidthPixels, HeightPixels uint32
		Modes                                    string
	}{
		Term:    cmp.Or(cmd.Env["TERM"], os.Getenv("TERM"), "xterm"),
		Columns: uint32(width), Rows: uint32(height),
		Modes: string(modes) + "\x00",
	}))
}

// screen finds the terminal that the command is shown on, and its size: 80 by
// 24 where there is none.
func screen(cmd Command) (f *os.File, width, height int) {
	for _, stream := range []any{cmd.Stdout, cmd.Stdin} {
		if f, ok := stream.(*os.File); ok {
			if width, height, err := term.GetSize(int(f.Fd())); err == nil && width > 0 && height > 0 {
				return f, width, height
			}
		}
	}
	return nil, 80, 24
}

// takeTerminal puts a local terminal in raw mode. The caller restores what it
// returns, which is never nil.
func takeTerminal(cmd Command) (*terminal, error) {
	t := &terminal{}
	if !cmd.Terminal {
		return t, nil
	}
	t.screen, t.width, t.height = screen(cmd)
	keyboard, ok := cmd.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(keyboard.Fd())) {
		return t, nil
	}
	state, err := term.MakeRaw(int(keyboard.Fd()))
	if err != nil {
		return t, fault.New(fault.Failed, "Run the command without a terminal.", "the local terminal refuses raw mode: %w", err)
	}
	plain := interpretScreen(cmd.Stdout)
	t.undo = func() {
		term.Restore(int(keyboard.Fd()), state)
		plain()
	}
	return t, nil
}

// restore gives the terminal back as it was. It may be called often.
func (t *terminal) restore() {
	t.once.Do(func() {
		if t.undo != nil {
			t.undo()
		}
	})
}

// guard is deferred by every goroutine of a call: a panic there ends the whole
// program without the deferred calls of Run, but not with a raw terminal.
func (t *terminal) guard() {
	if p := recover(); p != nil {
		t.restore()
		panic(p)
	}
}

// passSizes tells the box each new size of the local terminal, until the
// command ends.
func (k *call) passSizes(t *terminal) {
	if t.screen == nil {
		return
	}
	hints, stop := sizeHints()
	defer stop()
	for {
		// Asked before the first hint as well: the window may have changed
		// between the request for the pseudo-terminal and now.
		if width, height, err := term.GetSize(int(t.screen.Fd())); err == nil && (width != t.width || height != t.height) {
			t.width, t.height = width, height
			k.ch.SendRequest("window-change", false, ssh.Marshal(struct {
				Columns, Rows, WidthPixels, HeightPixels uint32
			}{Columns: uint32(width), Rows: uint32(height)}))
		}
		select {
		case <-k.ended:
			return
		case <-hints:
		}
	}
}
