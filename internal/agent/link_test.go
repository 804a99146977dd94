package agent

import (
	"testing"

	"crabbox/internal/box"
	"crabbox/internal/store"
)

func at(socket string) store.Lease {
	return store.Lease{Box: box.Box{Endpoint: box.Endpoint{Dialer: box.DialUnix, Socket: socket}}}
}

// The revision changes for what others found out about the endpoint, and never
// for what the link's own dial did, in whatever order both become visible.
func TestRevision(t *testing.T) {
	l := &link{}
	first := l.revise(at("a"))
	if again := l.revise(at("a")); again != first {
		t.Errorf("nothing new: %s, then %s", first, again)
	}

	// dial is under way and has stored b already.
	l.dialling = 1
	if got := l.revise(at("b")); got != first {
		t.Errorf("while dialling: %s, then %s", first, got)
	}
	l.dialling, l.dialled = 0, digest(at("b").Box.Endpoint)
	if got := l.revise(at("b")); got != first {
		t.Errorf("dial's own news: %s, then %s", first, got)
	}

	// Somebody else stored c.
	second := l.revise(at("c"))
	if second == first {
		t.Error("news from elsewhere: the same revision")
	}
	if again := l.revise(at("c")); again != second {
		t.Errorf("told already: %s, then %s", second, again)
	}

	// Somebody else stored d while dial was on its way to c.
	l.dialling = 1
	l.revise(at("d"))
	l.dialling, l.dialled = 0, digest(at("c").Box.Endpoint)
	if got := l.revise(at("d")); got == second {
		t.Error("news while dialling is lost")
	}
}

func TestDigestLeavesCredentialsOut(t *testing.T) {
	e := box.Endpoint{Dialer: box.DialTCP, Addrs: []string{"127.0.0.1:22"}, User: "token-1", SecretUser: true}
	fresh := e
	fresh.User = "token-2"
	if digest(e) != digest(fresh) {
		t.Error("a new token is taken for a new endpoint")
	}
	e.SecretUser, fresh.SecretUser = false, false
	if digest(e) == digest(fresh) {
		t.Error("another user is taken for the same endpoint")
	}
	hop := box.Endpoint{Dialer: box.DialTCP, Addrs: []string{"127.0.0.2:22"}}
	jumped := e
	jumped.Jump = []box.Endpoint{hop}
	if digest(e) == digest(jumped) {
		t.Error("another way is taken for the same endpoint")
	}
}
