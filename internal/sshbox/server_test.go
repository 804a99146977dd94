package sshbox_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/sshbox"
)

func TestLogin(t *testing.T) {
	h := newHouse(t)
	stranger, _ := newKey(t)
	for name, change := range map[string]func(*ssh.ClientConfig){
		"unknown key": func(c *ssh.ClientConfig) { c.Auth = []ssh.AuthMethod{ssh.PublicKeys(stranger)} },
		"other user":  func(c *ssh.ClientConfig) { c.User = "root" },
		"password":    func(c *ssh.ClientConfig) { c.Auth = []ssh.AuthMethod{ssh.Password("crab")} },
		"nothing":     func(c *ssh.ClientConfig) { c.Auth = nil },
	} {
		t.Run(name, func(t *testing.T) {
			config := h.config()
			change(config)
			if c, err := ssh.Dial("tcp", h.address, config); err == nil {
				_ = c.Close()
				t.Error("was let in")
			}
		})
	}
	if got := h.output("echo in"); got != "in\n" {
		t.Errorf("after the refusals: %q", got)
	}
}

func TestAnyUserWithoutUser(t *testing.T) {
	h := newHouse(t, func(s *sshbox.Server) { s.User = "" })
	config := h.config()
	config.User = "somebody"
	c, err := ssh.Dial("tcp", h.address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Output("echo $USER $LOGNAME")
	if err != nil || string(out) != "somebody somebody\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestAuthAttemptsAreLimited(t *testing.T) {
	h := newHouse(t)
	var keys []ssh.Signer
	for range 6 {
		key, _ := newKey(t)
		keys = append(keys, key)
	}
	config := h.config()
	config.Auth = []ssh.AuthMethod{ssh.PublicKeys(append(keys, h.key)...)}
	if c, err := ssh.Dial("tcp", h.address, config); err == nil {
		_ = c.Close()
		t.Error("the seventh key was accepted")
	}
	config.Auth = []ssh.AuthMethod{ssh.PublicKeys(append(keys[:5:5], h.key)...)}
	c, err := ssh.Dial("tcp", h.address, config)
	if err != nil {
		t.Fatalf("the sixth key was refused: %v", err)
	}
	_ = c.Close()
}

func TestSilentStrangerIsSentAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, _ := newKey(t)
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		begin := time.Now()
		err := (&sshbox.Server{HostKey: host}).ServeConn(t.Context(), theirs)
		if err == nil {
			t.Error("a handshake that never happened is no success")
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestStrangersAreCounted(t *testing.T) {
	h := newHouse(t)
	for i := 0; ; i++ {
		c, err := net.Dial("tcp", h.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 4)) // the server speaks first, if it does
		switch {
		case err == nil && i < 32:
			continue
		case err == nil:
			t.Fatalf("connection %d was served", i)
		case i < 32:
			t.Fatalf("connection %d was refused: %v", i, err)
		case errors.Is(err, os.ErrDeadlineExceeded):
			t.Fatal("the one too many was left hanging")
		}
		return
	}
}

func TestServeEndsWithItsListener(t *testing.T) {
	host, _ := newKey(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := (&sshbox.Server{HostKey: host}).Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestKeepaliveIsAnswered(t *testing.T) {
	c := newHouse(t).dial()
	for range 3 {
		ok, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
		if err != nil || ok {
			t.Fatalf("got %v, %v; want a plain no", ok, err)
		}
	}
}

func TestUnknownChannelIsRefused(t *testing.T) {
	_, _, err := newHouse(t).dial().OpenChannel("x11", nil)
	if refusal, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || refusal.Reason != ssh.UnknownChannelType {
		t.Errorf("got %v", err)
	}
}
