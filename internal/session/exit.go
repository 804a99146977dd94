package session

import (
	"encoding/binary"
	"io"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/fault"
)

// exit is how a command ended, as far as the server told: by a status, by a
// signal, or without a word.
type exit struct {
	status *uint32
	signal string
}

// note takes in what the server says about the command's end.
func (e *exit) note(r *ssh.Request) {
	switch r.Type {
	case "exit-status":
		if len(r.Payload) >= 4 {
			status := binary.BigEndian.Uint32(r.Payload)
			e.status = &status
		}
	case "exit-signal":
		var m struct {
			Signal     string
			CoreDumped bool
			Message    string
			Language   string
		}
		if ssh.Unmarshal(r.Payload, &m) == nil {
			e.signal = m.Signal
		}
	}
}

// code is what a shell would say in $?.
func (e *exit) code() (int, error) {
	switch n := signalNumbers[e.signal]; {
	case e.status != nil:
		return int(min(*e.status, 255)), nil
	case n != 0:
		return 128 + n, nil
	case e.signal != "":
		return 0, fault.New(fault.Failed, "", "the command was ended by the signal %q", e.signal)
	}
	return 0, lost(io.ErrUnexpectedEOF)
}

// signalNumbers has the signals of RFC 4254 and those that servers send
// besides; the numbers are Linux's on most processors.
var signalNumbers = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8,
	"KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
	"XCPU": 24, "XFSZ": 25, "SYS": 31,
}
