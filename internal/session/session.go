// Package session runs one command on a box over an SSH connection that is
// logged in, as `ssh host command` does: streams, terminal, window size,
// signals, exit code. It opens no connections and knows no boxes.
package session

import (
	"context"
	"crypto/rand"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/fault"
)

// NoFolder is the exit code of a command whose Dir could not be entered: the
// command itself was not started, and its stderr says why.
const NoFolder = 125

// Command is one command to run on a box.
type Command struct {
	// Line is given to the remote user's shell, which has to be a POSIX one
	// when Dir or Env is set; "" starts a login shell. Use Quote to build it
	// out of words.
	Line string
	Dir  string // remote working folder, absolute or below the home folder; "" for the home folder
	// Env never shows in a process list: values are sent as SSH env requests,
	// and what the server refuses goes through a file that only the remote
	// user can read and that is removed before Line starts.
	Env map[string]string
	// Stdin ends the command's input at io.EOF; nil is empty input. When the
	// command ends first, a Read from a file (a terminal, a pipe) is given up
	// without taking a byte. Where that cannot be done (other readers,
	// Windows), Run leaves the one Read behind that is under way.
	Stdin  io.Reader
	Stdout io.Writer // nil discards
	Stderr io.Writer // nil discards
	// Terminal asks for a pseudo-terminal of type Env["TERM"], or else the
	// local $TERM. Stdin is then put in raw mode when it is a terminal, and
	// its window changes are passed on. Stderr stays silent: a
	// pseudo-terminal has one output.
	Terminal bool
	// Signals are passed on to the remote command's process group; closed or
	// nil: none. With Terminal that is up to the server, and many ignore it:
	// there, a person's Ctrl-C is a byte of Stdin.
	Signals <-chan string // "INT", "TERM", ... (RFC 4254 section 6.10)
}

// Run starts the command and waits for its end. The code is the command's own,
// 128+n when signal n ended it, NoFolder when Dir is not there. An error means
// that no exit code is known: the connection was lost or the server refused.
//
// When ctx ends first, the command gets TERM, after two seconds KILL, and its
// channel is closed; a connection that does not even answer that within
// another two seconds is dead, and Run closes it. The error is then ctx's
// cause. Run returns after the last Write to Stdout and Stderr.
func Run(ctx context.Context, c *ssh.Client, cmd Command) (code int, err error) {
	if err := check(cmd); err != nil {
		return 0, err
	}
	var k *call
	err = Within(ctx, c, func() (err error) {
		k, err = start(ctx, c, cmd)
		return err
	})
	if err != nil {
		return 0, err
	}
	return k.converse(ctx, cmd)
}

func check(cmd Command) error {
	if strings.ContainsRune(cmd.Line, 0) || strings.ContainsRune(cmd.Dir, 0) {
		return fault.New(fault.Usage, "Leave the NUL byte out.", "the command line or its folder has a NUL byte")
	}
	for name, value := range cmd.Env {
		if !validName(name) {
			return fault.New(fault.Usage, "A name is made of letters, digits and underscores, and does not start with a digit.",
				"%q cannot be the name of an environment variable", name)
		}
		if strings.ContainsRune(value, 0) {
			return fault.New(fault.Usage, "Leave the NUL byte out.", "the value of the environment variable %s has a NUL byte", name)
		}
	}
	return nil
}

// start opens the command's channel, sends what has to be there before the
// command, and starts it.
func start(ctx context.Context, c *ssh.Client, cmd Command) (_ *call, err error) {
	k, err := open(c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			k.ch.Close()
		}
	}()
	left, err := k.setenv(cmd)
	if err != nil {
		return nil, err
	}
	if cmd.Terminal {
		if err := k.requestTerminal(cmd); err != nil {
			return nil, err
		}
	}
	file, err := leave(ctx, c, left) // last, so that no refusal leaves it lying there
	if err != nil {
		return nil, err
	}
	if !cmd.Terminal && cmd.Line != "" {
		k.mark = rand.Text()
	}
	if line := wrap(cmd.Line, k.mark, cmd.Dir, file); line != "" {
		return k, k.request("exec", ssh.Marshal(struct{ Line string }{line}))
	}
	return k, k.request("shell", nil)
}

// lost is the failure of a connection under a command.
func lost(err error) error {
	return fault.New(fault.Failed, "Check the box with `crabbox status`, then run the command again.",
		"the connection was lost before the command's end: %w", err)
}
