//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"crabbox/internal/sshdtest"
)

// patience is how long scripts wait for something that takes a moment.
const patience = 20 * time.Second

// commands are the words of the scripts beside testscript's own:
//
//	exits CODE PROGRAM ARGS...    run it; the exit code has to be CODE
//	until PATTERN PROGRAM ARGS... repeat it until its stdout matches
//	let NAME PATTERN              set a variable to what the group of PATTERN matches in the last stdout
//	fetch ADDRESS PATTERN         get http://ADDRESS; the answer has to match
//	kill9 FILE                    kill -9 the process whose id FILE is, or has as "pid"
//	rekey SERVER                  restart an SSH server with another host key
//	lines N                       the last stdout has N lines
func commands(servers map[string]*sshdtest.Server) map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"exits": exits,
		"until": until,
		"let":   let,
		"fetch": fetch,
		"kill9": kill9,
		"lines": lines,
		"rekey": func(ts *testscript.TestScript, _ bool, args []string) {
			servers[args[0]].SetHostKey(nil)
			servers[args[0]].Restart()
		},
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN PROGRAM ARGS...")
	}
	pattern := regexp.MustCompile("(?m)" + args[0])
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("never matched %s (last: %v)", args[0], err)
		}
	}
}

func let(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: let NAME PATTERN")
	}
	match := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(match) != 2 {
		ts.Fatalf("%s does not match once with one group", args[1])
	}
	ts.Setenv(args[0], match[1])
}

func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: fetch ADDRESS PATTERN")
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + args[0])
	for deadline := time.Now().Add(patience); !neg && errors.Is(err, syscall.ECONNREFUSED) && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond) // a server in the background is just starting
		answer, err = client.Get("http://" + args[0])
	}
	if neg {
		if err == nil {
			answer.Body.Close()
			ts.Fatalf("%s answers", args[0])
		}
		return
	}
	ts.Check(err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	ts.Check(err)
	if !regexp.MustCompile(args[1]).Match(body) {
		ts.Fatalf("%s answers %q", args[0], body)
	}
}

func kill9(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: kill9 FILE")
	}
	text := strings.TrimSpace(ts.ReadFile(args[0]))
	if match := regexp.MustCompile(`"pid": ?([0-9]+)`).FindStringSubmatch(text); match != nil {
		text = match[1]
	}
	pid, err := strconv.Atoi(text)
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	for deadline := time.Now().Add(patience); running(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("process %d does not end", pid)
		}
	}
}

func lines(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := strings.Count(ts.ReadFile("stdout"), "\n"); got != want {
		ts.Fatalf("%d lines, want %d", got, want)
	}
}

// running tells whether a process runs; one that only waits to be reaped does not.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := bytes.Cut(stat, []byte(") "))
	return !bytes.HasPrefix(after, []byte("Z"))
}

// cleanUp ends what a script has left on purpose, removes its home, and returns
// what is left against all intent: its processes.
func cleanUp(e *testscript.Env, home string) []string {
	quiet := func(args ...string) {
		cmd := exec.Command("crabbox", args...)
		cmd.Env = append(os.Environ(), "HOME="+home, "CRABBOX_HOME="+filepath.Join(home, "h"))
		if out, err := cmd.CombinedOutput(); err != nil {
			e.T().Log(fmt.Sprintf("crabbox %s: %v\n%s", strings.Join(args, " "), err, out))
		}
	}
	quiet("release", "--all", "--yes")
	quiet("agent", "stop")
	var left []string
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if left = processesOf(home); len(left) == 0 || time.Now().After(deadline) {
			break
		}
	}
	if err := os.RemoveAll(home); err != nil {
		left = append(left, err.Error())
	}
	return left
}

// processesOf lists the processes whose command line or environment names home.
func processesOf(home string) []string {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []string
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() || !running(pid) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		env, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if bytes.Contains(line, []byte(home)) || bytes.Contains(env, []byte(home)) {
			found = append(found, fmt.Sprintf("process %d: %s", pid, bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return found
}

// webServer is a service on the "hosts" of provider ssh, which are this machine.
func webServer(t *testing.T) (port string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello from a host\n") }))
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
