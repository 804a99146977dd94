//go:build unix

package crew

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"crabbox/internal/fault"
	"crabbox/internal/provider/providertest"
)

// A disk that is full when the box has been made must not cost a box.
func TestWarmupOnADiskThatFillsUp(t *testing.T) {
	if !alone(t) {
		return
	}
	k, mem := newKeeper(t)
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	full := old
	full.Cur = 0 // files may be made, nothing fits in
	mem.After(providertest.OpCreate, func(context.Context) error { return unix.Setrlimit(unix.RLIMIT_FSIZE, &full) })
	_, err := k.Warmup(t.Context(), order("demo", "web"), quiet)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	checkFault(t, err, fault.Failed, "Free some space")
	if !strings.Contains(err.Error(), "write") {
		t.Errorf("error %v", err)
	}
	checkNothingLeft(t, k, mem)
}

// alone runs the test in a process of its own, since a limit on files would
// also meet what the test program itself writes. It tells whether this is that
// process; in the other one the test is over when it returns.
func alone(t *testing.T) bool {
	t.Helper()
	const mark = "CRABBOX_TEST_ALONE"
	if os.Getenv(mark) != "" {
		return true
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), mark+"=1")
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("alone: %v\n%s", err, out)
	}
	return false
}
