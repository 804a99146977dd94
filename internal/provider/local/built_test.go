//go:build linux

package local

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestBuiltBoxIsQuickAndSmall measures the program as it ships, which is not
// the one that runs tests with the race detector in it.
func TestBuiltBoxIsQuickAndSmall(t *testing.T) {
	s := settings(t)
	s.Executable = filepath.Join(t.TempDir(), "crabbox")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", s.Executable, "crabbox/cmd/crabbox").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	p := newProvider(t, s)
	var took []time.Duration
	var idle []int
	for range 5 {
		o := newOrder(t, "web", namespaces)
		began := time.Now()
		if _, err := p.Create(testContext(t), o.Request); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
		l := warmup(t, p, o)
		l.sh("true")
		idle = append(idle, residentKiB(t, boxPid(t, p, l)))
	}
	slices.Sort(took)
	t.Logf("Create took %v; boxes hold %d KiB", took, idle)
	if took[0] > 300*time.Millisecond { // the quickest: the machine may be busy with other things
		t.Errorf("Create takes %v at best", took[0])
	}
	if largest := slices.Max(idle); largest > 25<<10 {
		t.Errorf("an idle box holds %d KiB", largest)
	}
}

func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}
