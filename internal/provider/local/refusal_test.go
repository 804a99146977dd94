//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/nstest"
	"crabbox/internal/provider"
)

// What attempts that died early left is removed by the next command.
func TestSweep(t *testing.T) {
	s := settings(t)
	p := newProvider(t, s)
	l := warmup(t, p, newOrder(t, "web", nil))
	lock, empty, broken := string(box.NewID()), string(box.NewID()), string(box.NewID())
	if err := errors.Join(
		os.WriteFile(p.folder(lock)+".lock", nil, 0o600),
		os.Mkdir(p.folder(empty), 0o700),
		os.Mkdir(p.folder(broken), 0o700),
		os.WriteFile(filepath.Join(p.folder(broken), fileRecord), []byte(`{"version":`), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	busy := string(box.NewID()) // somebody is working on it
	release, err := p.hold(testContext(t), busy)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(p.folder(busy), 0o700); err != nil {
		t.Fatal(err)
	}
	again := newProvider(t, s)
	for _, id := range []string{lock, empty, broken} {
		if _, err := again.Get(testContext(t), id); !errors.Is(err, fault.NotFound) {
			t.Errorf("Get: %v", err)
		}
	}
	if b, err := again.Get(testContext(t), busy); err != nil || b.State != box.Creating {
		t.Errorf("a box that is being made: %v, %v", b.State, err)
	}
	if got := l.sh("echo alive"); got != "alive" {
		t.Errorf("the living box says %q", got)
	}
	release()
	if ids, err := newProvider(t, s).ids(); err != nil || len(ids) != 1 || ids[0] != l.ProviderID {
		t.Errorf("left: %v, %v", ids, err)
	}
}

// Where namespaces are refused, a box is a plain process and says so. A system
// that has none in earnest refuses before the executable that plays one is asked.
func TestFallsBackToProcess(t *testing.T) {
	s := settings(t)
	// An executable that stands for a system without namespaces.
	script := filepath.Join(t.TempDir(), "crabbox")
	text := fmt.Sprintf("#!/bin/sh\ncase $2 in serve) exec '%s' \"$@\";; esac\necho '{\"error\":\"not on this kernel\",\"isolation\":true}'\nexit 1\n", s.Executable)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	s.Executable = script
	p := newProvider(t, s)
	l := warmup(t, p, newOrder(t, "web", nil))
	have, err := nstest.Have()
	if err != nil {
		t.Fatal(err)
	}
	if have && !strings.Contains(l.Note, "not on this kernel") || !strings.Contains(l.Note, "process") {
		t.Errorf("the note is %q", l.Note)
	}
	home := filepath.Join(p.folder(l.ProviderID), dirHome)
	if got := l.sh("pwd; echo $HOME"); got != home+"\n"+home {
		t.Errorf("its home is %q", got)
	}
	if note, err := Descriptor().Ready(testContext(t), s); err != nil || !strings.HasPrefix(note, l.Note) {
		t.Errorf("Ready says %q, %v", note, err)
	}
	o := newOrder(t, "web", nil)
	o.Options = namespaces
	_, err = p.Create(testContext(t), o.Request)
	if !errors.Is(err, fault.Unsupported) || fault.RemedyOf(err) == "" {
		t.Errorf("isolation=namespace: %v", err)
	}
	s.Options = namespaces
	if _, err := Descriptor().Ready(testContext(t), s); !errors.Is(err, fault.Unsupported) {
		t.Errorf("Ready with isolation=namespace: %v", err)
	}
}

func TestReady(t *testing.T) {
	nstest.Need(t)
	if note, err := Descriptor().Ready(testContext(t), settings(t)); err != nil || note != "" {
		t.Errorf("Ready says %q, %v", note, err)
	}
}

func TestReadyCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Descriptor().Ready(ctx, settings(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("Ready cancelled: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	s := settings(t)
	deep := s
	deep.Dir = filepath.Join(s.Dir, strings.Repeat("deep/", 20))
	broken := newOrder(t, "web", nil)
	broken.HostPrivateKey = "no key"
	for _, row := range []struct {
		what string
		s    provider.Settings
		o    order
	}{
		{"an unknown isolation", s, newOrder(t, "web", provider.Options{optIsolation: "jail"})},
		{"an unknown network", s, newOrder(t, "web", provider.Options{optNetwork: "none"})},
		{"a folder too deep for the socket", deep, newOrder(t, "web", nil)},
		{"a host key that is none", s, broken},
	} {
		p := newProvider(t, row.s)
		if _, err := p.Create(testContext(t), row.o.Request); !errors.Is(err, fault.Usage) {
			t.Errorf("%s: %v", row.what, err)
		}
		if ids, err := p.ids(); err != nil || len(ids) > 0 {
			t.Errorf("%s: left %v, %v", row.what, ids, err)
		}
	}
}
