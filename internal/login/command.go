package login

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// endGrace is how long a ProxyCommand may take to end politely.
const endGrace = 500 * time.Millisecond

// child is a running ProxyCommand.
type child struct {
	cmd    *exec.Cmd
	said   tail          // its standard error
	exited chan struct{} // closed once it is reaped; err is set before
	err    error
}

// startCommand runs line in a shell and returns its stdin and stdout as a
// connection. Close ends the command with its process group and reaps it.
func startCommand(line string) (net.Conn, error) {
	if strings.TrimSpace(line) == "" {
		return nil, fmt.Errorf("the proxy command is empty")
	}
	c := &child{cmd: shell(line), exited: make(chan struct{})}
	c.cmd.Stderr = &c.said
	c.cmd.WaitDelay = endGrace // a grandchild may keep stderr open for ever
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("proxy command: %w", err)
	}
	// Not StdoutPipe: Wait would close it before all is read.
	stdout, childOut, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("proxy command: %w", err)
	}
	c.cmd.Stdout = childOut
	err = c.cmd.Start()
	childOut.Close()
	if err != nil {
		stdout.Close()
		return nil, fmt.Errorf("proxy command: %w", err)
	}
	go c.reap()
	return newBridge(stdout, stdin, func() {
		stdin.Close()
		c.end()
		stdout.Close()
	}, c.reason), nil
}

// reap waits for the command; what is left of its group then goes with it, at
// once, while nobody else can have got its number.
func (c *child) reap() {
	c.err = c.cmd.Wait()
	kill(c.cmd)
	close(c.exited)
}

// end stops the command and everything in its group, and waits until it is
// reaped.
func (c *child) end() {
	select {
	case <-c.exited:
		return
	default:
	}
	terminate(c.cmd)
	timer := time.NewTimer(endGrace)
	defer timer.Stop()
	select {
	case <-c.exited:
	case <-timer.C:
		kill(c.cmd)
		<-c.exited
	}
}

// reason says why the stream ended; it wraps io.EOF.
func (c *child) reason() error {
	select {
	case <-c.exited:
	case <-time.After(endGrace): // it closed its stdout and lives on
		return io.EOF
	}
	how := "it succeeded"
	if c.err != nil {
		how = c.err.Error()
	}
	if said := c.said.last(); said != "" {
		return fmt.Errorf("the proxy command ended (%s), saying %q: %w", how, said, io.EOF)
	}
	return fmt.Errorf("the proxy command ended (%s): %w", how, io.EOF)
}

// tail keeps the last bytes written to it.
type tail struct {
	mu   sync.Mutex
	data []byte // guarded by mu
}

const tailSize = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if extra := len(t.data) - tailSize; extra > 0 {
		t.data = append(t.data[:0], t.data[extra:]...)
	}
	return len(p), nil
}

// last returns the last line that is not empty.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(string(t.data))
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
