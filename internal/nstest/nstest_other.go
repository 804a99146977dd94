//go:build !linux

package nstest

import "errors"

var errLinuxOnly = errors.New("namespaces exist on Linux only")

func users() error { return errLinuxOnly }

func network() error { return errLinuxOnly }
