package client

import (
	"errors"
	"io/fs"
	"os"

	"crabbox/internal/fault"
)

// CheckSocket refuses a path where something else than a socket was put, such
// as a symbolic link to somebody else's: it must be neither followed nor
// removed. A path where nothing is gives an error that is fs.ErrNotExist.
func CheckSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil:
		return fault.New(fault.Failed, "Check the folder's permissions, or set CRABBOX_HOME to another one.", "look for the agent's socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fault.New(fault.Conflict, "Find out who put it there, remove it, and try again.", "%s is not a socket", path)
	}
	return nil
}
