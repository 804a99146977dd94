package sshbox

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

const (
	maxEnv      = 256      // variables that one session may set
	maxEnvBytes = 64 << 10 // and their size together
)

// session is one channel of type "session" (RFC 4254 section 6):
//
//	open --pty-req, env--> open --exec, shell or subsystem--> running --command ended--> closed
//	                                                             |
//	                                  channel lost: hung up      '--signal, window-change--> running
//
// All fields belong to the task that reads the channel's requests. Once the
// session runs, term and program are read by the task that serves the command.
type session struct {
	conn    *connection
	channel ssh.Channel
	env     []string
	envSize int
	term    *terminal // nil: none was asked for
	started bool
	program *program // nil: not started, or a subsystem
}

func (c *connection) session(channel ssh.NewChannel) {
	stream, requests, err := channel.Accept()
	if err != nil {
		return
	}
	s := &session{conn: c, channel: stream}
	for r := range requests {
		ok, then := s.handle(r)
		_ = r.Reply(ok, nil) // before the first output
		if then != nil {
			c.tasks.Go(then)
		}
	}
	// The channel is gone: closed by the client, lost, or closed by us after
	// the end of the command, when hanging up means nothing any more.
	if s.program != nil {
		s.program.hangUp()
	}
	if s.term != nil {
		s.term.close()
	}
	_ = stream.Close()
}

// handle answers one request. The rest of the work, if any, is then: it runs
// beside the requests that follow.
func (s *session) handle(r *ssh.Request) (ok bool, then func()) {
	switch r.Type {
	case "env":
		return s.setEnv(r.Payload), nil
	case "pty-req":
		return s.openTerminal(r.Payload), nil
	case "window-change":
		return s.resize(r.Payload), nil
	case "signal":
		var m struct{ Name string }
		return ssh.Unmarshal(r.Payload, &m) == nil && s.program != nil && s.program.signal(m.Name), nil
	case "shell":
		return s.start("")
	case "exec":
		var m struct{ Line string }
		if ssh.Unmarshal(r.Payload, &m) != nil {
			return false, nil
		}
		return s.start(m.Line)
	case "subsystem":
		var m struct{ Name string }
		if ssh.Unmarshal(r.Payload, &m) != nil || m.Name != "sftp" || s.started {
			return false, nil
		}
		s.started = true
		return true, s.sftp
	default:
		return false, nil // auth-agent-req@openssh.com and x11-req among them
	}
}

func (s *session) setEnv(payload []byte) bool {
	var m struct{ Name, Value string }
	if s.started || ssh.Unmarshal(payload, &m) != nil {
		return false
	}
	entry := m.Name + "=" + m.Value
	if m.Name == "" || strings.ContainsAny(m.Name, "=\x00") || strings.Contains(m.Value, "\x00") ||
		len(s.env) == maxEnv || s.envSize+len(entry) > maxEnvBytes {
		return false
	}
	s.env = append(s.env, entry)
	s.envSize += len(entry)
	return true
}

func (s *session) openTerminal(payload []byte) bool {
	var m terminalRequest
	if s.started || s.term != nil || ssh.Unmarshal(payload, &m) != nil || strings.Contains(m.Kind, "\x00") {
		return false
	}
	term, err := newTerminal(m)
	if err != nil {
		s.conn.server.log().Warn("no terminal", "error", err)
		return false
	}
	s.term = term
	return true
}

func (s *session) resize(payload []byte) bool {
	var m windowSize
	return s.term != nil && ssh.Unmarshal(payload, &m) == nil && s.term.resize(m) == nil
}

// start starts line, or a login shell when it is empty. A command that cannot
// be started is one that ends at once with a message, as with a real sshd.
func (s *session) start(line string) (ok bool, then func()) {
	if s.started {
		return false, nil
	}
	s.started = true
	cmd, note := s.command(line)
	p, err := startProgram(cmd, s.term, s.conn.server.Reaper)
	if err != nil {
		s.conn.server.log().Warn("command not started", "error", err)
		return true, func() {
			_, _ = fmt.Fprintf(s.channel.Stderr(), "crabbox: %v\r\n", err)
			s.end(exit{code: 127})
		}
	}
	s.program = p
	return true, func() {
		if note != "" {
			_, _ = fmt.Fprintf(s.channel.Stderr(), "crabbox: %s\r\n", note)
		}
		stop := context.AfterFunc(s.conn.deadline, p.kill)
		defer stop()
		s.conn.tasks.Go(func() { p.feed(s.channel) })
		s.end(p.run(s.channel))
	}
}

// end reports how the command ended and closes the channel. The client may be
// gone already, so nobody minds if this fails.
func (s *session) end(e exit) {
	_ = s.channel.CloseWrite()
	if e.signal == "" {
		_, _ = s.channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{e.code}))
	} else {
		_, _ = s.channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Name     string
			Core     bool
			Message  string
			Language string
		}{e.signal, e.core, "", ""}))
	}
	_ = s.channel.Close()
}
