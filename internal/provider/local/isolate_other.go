//go:build !linux

package local

import "errors"

// insideBase has no meaning where boxes are plain processes.
const insideBase = ""

var errLinuxOnly = errors.New("namespaces exist on Linux only")

func isolate(string, string, string) error { return refuse(errLinuxOnly, true) }

func startFailure(_ string, err error) error { return err }

func namespaceHint() string { return "" }
