package sshbox_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"crabbox/internal/sshbox"
)

// A process that inherits orphans is one for good, so these checks run in a
// process of their own.
const inheritor = "SSHBOX_TEST_INHERITOR"

func TestReaper(t *testing.T) {
	if os.Getenv(inheritor) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestReaper$", "-test.count=1", "-test.v")
		cmd.Env = append(os.Environ(), inheritor+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "orphans were collected") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var reaper sshbox.Reaper
	done := make(chan struct{})
	go func() {
		defer close(done)
		reaper.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	h := newHouse(t, func(s *sshbox.Server) { s.Reaper = &reaper })
	c := h.dial()
	var orphans sync.Map
	var users sync.WaitGroup
	for user := range 4 {
		users.Go(func() {
			for i := range 20 {
				s, err := c.NewSession()
				if err != nil {
					t.Error(err)
					return
				}
				// Two orphans: one dies before the command, one after it.
				out, err := s.Output("(sleep 0 & echo $!); (sleep 0.05 >&- 2>&- & echo $!); exit " + strconv.Itoa(user))
				if code := codeOf(err); code != user {
					t.Errorf("command %d of user %d: %v", i, user, err)
				}
				for pid := range strings.FieldsSeq(string(out)) {
					orphans.Store(pid, true)
				}
			}
		})
	}
	users.Wait()
	n := 0
	for pid := range orphans.Range {
		n++
		eventually(t, "the collection of an orphan", func() bool { return !childOfOurs(pid.(string)) })
	}
	// A command that cannot start leaves a dead child, too, for a moment.
	if err := reaper.Start(&exec.Cmd{Path: "/nonexistent"}); err == nil {
		t.Error("started what is not there")
	}
	if err := reaper.Start(&exec.Cmd{Path: "/"}); err == nil {
		t.Error("started a folder")
	}
	if n < 100 { // ids may be used twice
		t.Fatalf("only %d orphans", n)
	}
	t.Logf("%d orphans were collected", n)
}

func codeOf(err error) int {
	if e, ok := err.(interface{ ExitStatus() int }); ok {
		return e.ExitStatus()
	}
	if err != nil {
		return -1
	}
	return 0
}

// childOfOurs tells whether the process is our child, dead or alive.
func childOfOurs(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	return len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid())
}

func TestNilReaper(t *testing.T) {
	var none *sshbox.Reaper
	cmd := exec.Command("sh", "-c", "exit 3")
	if err := none.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := none.Wait(cmd); cmd.ProcessState.ExitCode() != 3 {
		t.Error(err)
	}
}
