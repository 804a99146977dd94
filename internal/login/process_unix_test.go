//go:build unix

package login

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"crabbox/internal/sshdtest"
)

// Close ends the command and what it started, and has reaped it on return.
func TestProxyCommandEndsWithTheConnection(t *testing.T) {
	dir := t.TempDir()
	pids := filepath.Join(dir, "pids")
	// The second one ignores the polite signal; both ignore their stdin.
	conn, err := startCommand(`sh -c 'sleep 600 & trap "" TERM; echo $$ $! >` + pids + `.new; mv ` + pids + `.new ` + pids + `; while :; do sleep 600; done'`)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command runs", func() bool { _, err := os.Stat(pids); return err == nil })
	data, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	for word := range strings.FieldsSeq(string(data)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "process "+word+" is gone", func() bool { return !alive(pid) })
	}
}

// alive tells whether the process exists and is no zombie, which it stays where
// nobody takes care of orphans.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil && strings.Contains(string(stat), ") Z ") {
		return false
	}
	return syscall.Kill(pid, 0) == nil
}

// An address that swallows packets does not keep the next one waiting for long.
func TestRaceOvertakesASilentAddress(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Options{})
	silent := fullBacklog(t)
	start := time.Now()
	conn, err := race(soon(t), []string{silent, s.Addr})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.RemoteAddr().String(); got != s.Addr {
		t.Fatalf("connected to %s", got)
	}
	if took := time.Since(start); took < headStart || took > rejoin {
		t.Errorf("took %s, want about %s", took, headStart)
	}
}

// fullBacklog returns an address whose queue is full: the kernel drops further
// connection attempts without a word, as a firewall would.
func fullBacklog(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := "127.0.0.1:" + strconv.Itoa(name.(*syscall.SockaddrInet4).Port)
	for range 16 {
		conn, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the queue does not fill")
	return ""
}
