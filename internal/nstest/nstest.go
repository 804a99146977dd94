// Package nstest says whether tests can have namespaces here. Locked-down
// kernels and most containers give a plain user none. A test that needs them is
// skipped there; with the environment variable CI set it fails, since in CI
// nothing is skipped.
package nstest

import (
	"fmt"
	"os"
	"testing"
)

// Need is for tests of boxes in namespaces: it asks for a user namespace in
// which one may mount.
func Need(t testing.TB) {
	t.Helper()
	need(t, users())
}

// NeedNetwork is for tests in a network of their own, for which root needs no
// user namespace.
func NeedNetwork(t testing.TB) {
	t.Helper()
	need(t, network())
}

// Have is Need as a condition, for scripts.
func Have() (bool, error) { return have(users()) }

func need(t testing.TB, missing error) {
	t.Helper()
	if ok, err := have(missing); err != nil {
		t.Fatal(err)
	} else if !ok {
		t.Skip(missing)
	}
}

func have(missing error) (bool, error) {
	if missing != nil && os.Getenv("CI") != "" {
		return false, fmt.Errorf("CI is set, so nothing may be skipped: %w", missing)
	}
	return missing == nil, nil
}
