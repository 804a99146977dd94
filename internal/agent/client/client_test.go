package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"crabbox/internal/agent/api"
	"crabbox/internal/agent/client"
	"crabbox/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pretend serves h at the socket of a new home.
func pretend(t *testing.T, h http.HandlerFunc) client.Options {
	t.Helper()
	home, err := os.MkdirTemp("", "cbx")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(home, api.SocketFile))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Close()
		<-served
		os.RemoveAll(home)
	})
	return client.Options{Home: home, Version: "v1", Warn: func(string) {}}
}

const versionAnswer = `{"version":"v1","pid":1}`

func TestAgentThatHangs(t *testing.T) {
	done := make(chan struct{})
	o := pretend(t, func(http.ResponseWriter, *http.Request) { <-done })
	defer close(done)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := client.Find(ctx, o); fault.KindOf(err) != fault.Timeout || fault.RemedyOf(err) == "" {
		t.Errorf("%v (%s)", err, fault.KindOf(err))
	}
}

func TestAnswersThatAreNoAnswers(t *testing.T) {
	for story, row := range map[string]struct {
		handler http.HandlerFunc
		kind    fault.Kind
		gone    bool
	}{
		"cut off": {func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, fault.NotFound, true},
		"ending": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(503)
			w.Write([]byte(`{"kind":"ending","error":"bye"}`))
		}, fault.NotFound, true},
		"half of it":   {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"name":"de`)) }, fault.NotFound, true},
		"not our form": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "nope \x1b[31m", 500) }, fault.Failed, false},
		"not found": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			w.Write([]byte(`{"kind":"not found","error":"no crew"}`))
		}, fault.NotFound, false},
	} {
		t.Run(story, func(t *testing.T) {
			o := pretend(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/version" {
					w.Write([]byte(versionAnswer))
					return
				}
				row.handler(w, r)
			})
			c, err := client.Find(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Crew(t.Context(), "demo")
			if fault.KindOf(err) != row.kind || errors.Is(err, client.ErrGone) != row.gone || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("crew: %v (%s)", err, fault.KindOf(err))
			}
			err = c.Watch(t.Context(), "demo", api.WatchRequest{}, func(api.Crew) error { return nil })
			if fault.KindOf(err) != row.kind || errors.Is(err, client.ErrGone) != row.gone {
				t.Errorf("watch: %v (%s)", err, fault.KindOf(err))
			}
		})
	}
}

func TestNamesStayInTheirPlace(t *testing.T) {
	paths := make(chan string, 1)
	o := pretend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/version" {
			w.Write([]byte(versionAnswer))
			return
		}
		paths <- r.Method + " " + r.URL.EscapedPath()
		w.Write([]byte("{}"))
	})
	c, err := client.Find(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Crew(t.Context(), "../stop"); err != nil {
		t.Fatal(err)
	}
	if got, want := <-paths, "GET /v1/crews/..%2Fstop"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	if err := c.Cut(t.Context(), "a/b", "{crew}?x=1"); err != nil {
		t.Fatal(err)
	}
	if got, want := <-paths, "POST /v1/crews/a%2Fb/members/%7Bcrew%7D%3Fx=1/cut"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

func TestFindWhereNothingIs(t *testing.T) {
	for _, home := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing")} {
		_, err := client.Find(t.Context(), client.Options{Home: home, Warn: func(string) {}})
		if fault.KindOf(err) != fault.NotFound || !errors.Is(err, client.ErrGone) {
			t.Errorf("%v (%s)", err, fault.KindOf(err))
		}
		if entries, _ := os.ReadDir(home); len(entries) != 0 {
			t.Errorf("looking made %v", entries)
		}
	}
}
