//go:build unix

package session

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// input reads Stdin. When that is a file, a Read that waits can be given up:
// poll waits for the file and for the end of a pipe of our own.
type input struct {
	io.Reader
	file  *os.File // nil: not a file, cannot be given up
	ear   *os.File // read end of the pipe, closed by close
	voice *os.File // write end, closed by giveUp
}

func newInput(r io.Reader) *input {
	in := &input{Reader: r}
	f, ok := r.(*os.File)
	if !ok {
		return in
	}
	ear, voice, err := os.Pipe()
	if err != nil {
		return in // out of files: one Read may stay behind
	}
	in.file, in.ear, in.voice = f, ear, voice
	return in
}

func (in *input) Read(p []byte) (int, error) {
	if in.file == nil {
		return in.Reader.Read(p)
	}
	if in.wait() {
		return 0, errGivenUp
	}
	return in.file.Read(p)
}

// wait blocks until the file has something to say, an error included, or the
// input is given up.
func (in *input) wait() (givenUp bool) {
	raw, err := in.file.SyscallConn()
	if err != nil {
		return false
	}
	raw.Control(func(fd uintptr) {
		ear, err := in.ear.SyscallConn()
		if err != nil {
			return
		}
		ear.Control(func(earFD uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(earFD), Events: unix.POLLIN}}
			for {
				_, err := unix.Poll(fds, -1)
				if err == unix.EINTR {
					continue
				}
				givenUp = err == nil && fds[1].Revents != 0
				return
			}
		})
	})
	return givenUp
}

// giveUp ends a Read that waits. It says whether there will be no Read left
// behind.
func (in *input) giveUp() bool {
	if in.file == nil {
		return false
	}
	in.voice.Close()
	return true
}

// close is called by the reading goroutine at its end.
func (in *input) close() {
	if in.file != nil {
		in.ear.Close()
	}
}
