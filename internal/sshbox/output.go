package sshbox

import (
	"io"
	"os"
	"sync"
	"time"
)

// outputIdle is how long the output of a command that has ended may stay silent
// while somebody (a child in the background) still holds it open. A real sshd
// waits for ever there; `ssh box 'server &'` shall return.
const outputIdle = time.Second

// output is one stream of what a command says. mu guards all but from.
type output struct {
	from *os.File

	mu      sync.Mutex
	ended   bool        // the command has: silence has a limit
	reading bool        // a receiver that is slow is not silence
	silence *time.Timer // closes from
}

func newOutput(from *os.File) *output { return &output{from: from} }

// copyTo copies until the end of the stream, until w fails, or until the stream
// is idle after the command's end; then it closes the stream.
func (o *output) copyTo(w io.Writer) {
	defer o.close()
	defer o.setReading(false)
	buffer := make([]byte, 32<<10)
	for {
		o.setReading(true)
		n, err := o.from.Read(buffer)
		o.setReading(false)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (o *output) setReading(yes bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reading = yes
	o.limitSilenceLocked()
}

func (o *output) programEnded() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.limitSilenceLocked()
}

func (o *output) limitSilenceLocked() {
	switch {
	case !o.ended:
	case o.silence == nil && o.reading:
		o.silence = time.AfterFunc(outputIdle, o.close)
	case o.silence != nil && o.reading:
		o.silence.Reset(outputIdle)
	case o.silence != nil:
		o.silence.Stop()
	}
}

func (o *output) close() { _ = o.from.Close() }
