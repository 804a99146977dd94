package session

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// passSignals forwards signals until the command ends.
func (k *call) passSignals(signals <-chan string) {
	for {
		select {
		case <-k.ended:
			return
		case name, ok := <-signals:
			if !ok {
				return
			}
			k.signal(name)
		}
	}
}

// signal sends a signal to the command's process group. SSH has a request for
// that, but no answer to it, and OpenSSH ignores it for root, before 7.9 for
// everybody. So the box's own kill is tried first. Never both: for many
// programs a second INT means something else than the first.
func (k *call) signal(name string) {
	if k.kill(name) {
		return
	}
	_, _ = k.ch.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{name}))
}

// kill runs kill on the box; done says that it reached the command.
func (k *call) kill(name string) (done bool) {
	if _, known := signalNumbers[name]; !known || k.mark == "" {
		return false
	}
	select {
	case <-k.named:
	case <-k.ended:
		return false
	case <-time.After(patience / 2): // no POSIX shell there
		return false
	}
	helper, err := open(k.client)
	if err != nil {
		return false
	}
	defer helper.ch.Close()
	line := fmt.Sprintf("kill -s %s -- -%d 2>/dev/null || kill -s %[1]s %[2]d 2>/dev/null", name, k.pid)
	if helper.request("exec", ssh.Marshal(struct{ Line string }{line})) != nil {
		return false
	}
	<-helper.ended
	code, err := helper.exit.code()
	return err == nil && code == 0
}

// listen returns the writer for the command's stderr, which finds the
// announcement of its process id there.
func (k *call) listen(stderr io.Writer) io.Writer {
	if stderr == nil {
		stderr = io.Discard
	}
	if k.mark == "" {
		return stderr
	}
	return &announced{call: k, dst: stderr}
}

// announced passes on all but one line: the mark and a process id. What a login
// shell says on its own comes before it, so text is held back until a line is
// whole; after it everything goes through at once.
type announced struct {
	call *call
	dst  io.Writer
	held []byte
	done bool
}

func (a *announced) Write(p []byte) (int, error) {
	if a.done {
		return a.dst.Write(p)
	}
	a.held = append(a.held, p...)
	for !a.done {
		end := bytes.IndexByte(a.held, '\n')
		if end < 0 {
			return len(p), nil
		}
		line := a.held[:end+1]
		a.held = a.held[end+1:]
		if before, pid, ok := strings.Cut(string(line), a.call.mark+" "); ok {
			a.done = true
			line = []byte(before)
			if n, err := strconv.Atoi(strings.TrimSpace(pid)); err == nil && n > 1 {
				a.call.pid = n
				close(a.call.named)
			}
		}
		if len(line) > 0 {
			if _, err := a.dst.Write(line); err != nil {
				return 0, err
			}
		}
	}
	return len(p), a.flush()
}

// flush passes on what is held back.
func (a *announced) flush() error {
	held := a.held
	a.held = nil
	if len(held) == 0 {
		return nil
	}
	_, err := a.dst.Write(held)
	return err
}
