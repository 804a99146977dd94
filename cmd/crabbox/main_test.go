//go:build unix

package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"crabbox/internal/nstest"
	"crabbox/internal/provider/all"
	"crabbox/internal/sshdtest"
)

// TestMain lets the test binary be crabbox: in scripts, as the agent that
// crabbox starts, and as a local box.
func TestMain(m *testing.M) {
	if code, handled := all.Main(os.Args[1:]); handled {
		os.Exit(code)
	}
	// With -race every process would wait a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	testscript.Main(m, map[string]func(){"crabbox": main})
}

// TestScripts drives the real main, one script per command or story. Each has
// a home of its own, and nothing of it may be left when it ends.
func TestScripts(t *testing.T) {
	servers := map[string]*sshdtest.Server{
		"PLAIN":  sshdtest.Start(t, sshdtest.Options{}),
		"NOFWD":  sshdtest.Start(t, sshdtest.Options{Config: []string{"AllowTcpForwarding no"}}),
		"REKEY":  sshdtest.Start(t, sshdtest.Options{}),
		"SECOND": sshdtest.Start(t, sshdtest.Options{}),
	}
	silent := silentServer(t)
	web := webServer(t)
	var mu sync.Mutex // guards left
	var left []string
	t.Run("in", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir: filepath.Join("..", "..", "internal", "cli", "testdata", "script"),
			Setup: func(e *testscript.Env) error {
				home, err := os.MkdirTemp("/tmp", "cbx")
				if err != nil {
					return err
				}
				e.Setenv("TMPHOME", home)
				e.Setenv("HOME", home)
				e.Setenv("CRABBOX_HOME", filepath.Join(home, "h"))
				e.Setenv("GORACE", os.Getenv("GORACE"))
				e.Setenv("SILENT", silent)
				// Addresses follow from the crew's name, and runs side by side
				// must not meet.
				e.Setenv("CREW", "crew-"+strings.ToLower(rand.Text()[:12]))
				e.Setenv("ESC", "\x1b[31m")
				e.Setenv("WEBPORT", web)
				for name, s := range servers {
					e.Setenv(name, s.User+"@"+s.Addr)
					e.Setenv(name+"_KEY", s.UserKeyFile)
				}
				e.Defer(func() {
					found := cleanUp(e, home)
					mu.Lock()
					defer mu.Unlock()
					left = append(left, found...)
				})
				return nil
			},
			Cmds: commands(servers),
			Condition: func(name string) (bool, error) {
				if name != "namespaces" {
					return false, fmt.Errorf("there is no condition %q", name)
				}
				return nstest.Have()
			},
			Deadline: time.Now().Add(5 * time.Minute), // a script that hangs says where
		})
	})
	for _, process := range left {
		t.Errorf("left behind: %s", process)
	}
}

// silentServer accepts connections and never says a word.
func silentServer(t *testing.T) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open = append(open, c)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for _, c := range open {
			c.Close()
		}
	})
	return l.Addr().String()
}
