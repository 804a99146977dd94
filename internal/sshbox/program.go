package sshbox

import (
	"io"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/crypto/ssh"
)

// exit is how a command ended: by code, or by signal when that is not empty.
type exit struct {
	code   uint32
	signal string // "TERM", "KILL", ...: RFC 4254 section 6.10
	core   bool
}

// program is a command that was started, the leader of a process group of its
// own. It has either a terminal or three pipes.
//
//	running --it ended--> ended --output ended or idle--> done
//
// mu guards ended: once the command was waited for, its process id may be
// anybody's, so no signal is sent any more.
type program struct {
	cmd    *exec.Cmd
	reaper *Reaper
	stdin  io.WriteCloser // the terminal, or our end of a pipe
	stdout *output
	stderr *output // nil with a terminal

	mu    sync.Mutex
	ended bool
}

// startProgram starts cmd in term or, when that is nil, on pipes.
func startProgram(cmd *exec.Cmd, term *terminal, reaper *Reaper) (*program, error) {
	p := &program{cmd: cmd, reaper: reaper}
	if term != nil {
		term.attach(cmd)
		p.stdin, p.stdout = keepOpen{term.master}, newOutput(term.master)
		err := reaper.Start(cmd)
		term.started()
		return p, err
	}
	ownSession(cmd)
	var theirs, ours []*os.File
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(theirs)
			closeAll(ours)
			return nil, err
		}
		if len(ours) == 0 { // standard input flows the other way
			r, w = w, r
		}
		ours, theirs = append(ours, r), append(theirs, w)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
	p.stdin, p.stdout, p.stderr = ours[0], newOutput(ours[1]), newOutput(ours[2])
	err := reaper.Start(cmd)
	closeAll(theirs)
	if err != nil {
		closeAll(ours)
	}
	return p, err
}

// feed passes on what the client sends, and its end. It returns after hangUp at
// the latest.
func (p *program) feed(channel ssh.Channel) {
	_, _ = io.Copy(p.stdin, channel)
	_ = p.stdin.Close()
}

// run passes on what the command says, and waits for its end and the end of its
// output.
func (p *program) run(channel ssh.Channel) exit {
	var pumps sync.WaitGroup
	pumps.Go(func() { p.stdout.copyTo(channel) })
	if p.stderr != nil {
		pumps.Go(func() { p.stderr.copyTo(channel.Stderr()) })
	}
	e := p.wait()
	p.stdout.programEnded()
	if p.stderr != nil {
		p.stderr.programEnded()
	}
	pumps.Wait()
	return e
}

// wait collects the command.
func (p *program) wait() exit {
	if awaitEnd(p.cmd.Process.Pid) {
		p.markEnded() // not collected yet: until here its id was its own
	}
	_ = p.reaper.Wait(p.cmd) // the state says it in full
	p.markEnded()
	if p.cmd.ProcessState == nil {
		return exit{code: 255} // somebody else of this process took its status
	}
	return exitOf(p.cmd.ProcessState)
}

func (p *program) markEnded() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
}

// signal sends the named signal to the command's process group. It tells
// whether that was possible.
func (p *program) signal(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.ended && signalGroup(p.cmd.Process, name) == nil
}

func (p *program) kill() { p.signal("KILL") }

// hangUp tells a command whose client has gone. Unlike a real sshd this also
// signals commands without a terminal: nobody is left to stop them. Commands
// under nohup live on until the server's end.
func (p *program) hangUp() {
	p.signal("HUP")
	_ = p.stdin.Close()
	p.stdout.close()
	if p.stderr != nil {
		p.stderr.close()
	}
}

// keepOpen is a terminal as standard input: its end is no hang-up.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
