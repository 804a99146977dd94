package sshbox

import (
	"errors"
	"os"
	"os/exec"
)

// terminal is never made on this system.
type terminal struct {
	kind, name string
	master     *os.File
}

// newTerminal says so, and the client hears that its request failed.
func newTerminal(terminalRequest) (*terminal, error) {
	return nil, errors.New("pseudo-terminals are not supported on Windows")
}

func (t *terminal) attach(*exec.Cmd)        {}
func (t *terminal) started()                {}
func (t *terminal) resize(windowSize) error { return errors.ErrUnsupported }
func (t *terminal) close()                  {}
