package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/crew"
	"crabbox/internal/fault"
	"crabbox/internal/mesh"
	"crabbox/internal/store"
)

// refreshTime is how long a provider may take to say where a box is; it leaves
// time to try the address known so far within one attempt of the mesh.
const refreshTime = 6 * time.Second

// link is what the agent knows of one member's link from pass to pass. The
// mesh's goroutines call dial; the loop calls revise.
type link struct {
	keeper *crew.Keeper

	mu       sync.Mutex // guards the fields below; never held across disk or network
	lease    store.Lease
	dialling int    // attempts that are under way
	dialled  string // the endpoint that the last attempt used
	seen     string // the endpoint that the last pass saw
	revision int
}

// dial is mesh.Peer.Dial: it asks the provider for today's endpoint. One that
// does not answer is no reason to lose a box that does: then the endpoint known
// so far is tried, with the same host key.
func (l *link) dial(ctx context.Context) (net.Conn, *ssh.ClientConfig, error) {
	l.mu.Lock()
	lease := l.lease
	l.dialling++
	l.mu.Unlock()
	dialled := ""
	defer func() {
		l.mu.Lock()
		l.dialling--
		if dialled != "" {
			l.dialled = dialled
		}
		l.mu.Unlock()
	}()

	asking, cancel := context.WithTimeout(ctx, refreshTime)
	fresh, refreshErr := l.keeper.Refresh(asking, lease)
	cancel()
	switch {
	case errors.Is(refreshErr, fault.NotFound):
		return nil, nil, verdict{mesh.ErrGone, refreshErr}
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case refreshErr != nil:
		refreshErr = fmt.Errorf("provider %s: %w", lease.Box.Provider, refreshErr)
		if lease.Box.Endpoint.Dialer == "" {
			return nil, nil, refreshErr
		}
		fresh = lease
	}
	if fresh.Box.Endpoint.Dialer == "" {
		return nil, nil, errors.New("the provider does not say yet where the box is")
	}
	dialled = digest(fresh.Box.Endpoint)
	target, err := l.keeper.Target(fresh)
	if err != nil {
		return nil, nil, errors.Join(err, refreshErr)
	}
	conn, config, err := l.keeper.Login.Dial(ctx, target)
	switch kind := fault.KindOf(err); {
	case err == nil:
		return conn, config, nil
	case refreshErr != nil: // whatever the old endpoint says, the new one may differ
		return nil, nil, fmt.Errorf("%w; as last seen: %w", refreshErr, err)
	case kind == fault.Credentials || kind == fault.Conflict || kind == fault.Usage:
		return nil, nil, verdict{mesh.ErrRefused, err}
	}
	return nil, nil, err
}

// verdict tells the mesh what an error means and a person what it says.
type verdict struct{ means, cause error }

func (v verdict) Error() string   { return v.cause.Error() }
func (v verdict) Unwrap() []error { return []error{v.means, v.cause} }

// revise takes over the lease as it is on disk and returns the peer's revision.
// It changes when the endpoint became another one that the link did not find
// out by itself: what dial learns and stores is no news.
func (l *link) revise(lease store.Lease) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lease = lease
	now := digest(lease.Box.Endpoint)
	switch {
	case l.dialling > 0 && l.seen != "": // it may be dial's own news: the next pass knows
	case l.seen != "" && now != l.seen && now != l.dialled:
		l.revision++
		fallthrough
	default:
		l.seen = now
	}
	return strconv.Itoa(l.revision)
}

// digest stands for what makes an endpoint this one and no other. Credentials
// that are new at each answer are not in it.
func digest(e box.Endpoint) string {
	plain := func(e box.Endpoint) box.Endpoint {
		if e.SecretUser {
			e.User = ""
		}
		e.CredentialEnds = time.Time{}
		return e
	}
	e = plain(e)
	jumps := make([]box.Endpoint, 0, len(e.Jump))
	for _, j := range e.Jump {
		jumps = append(jumps, plain(j))
	}
	e.Jump = jumps
	data, err := json.Marshal(e)
	if err != nil {
		panic(err) // plain data
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// gate names the server that several boxes may stand behind.
func gate(e box.Endpoint) string {
	switch {
	case len(e.Jump) > 0 && len(e.Jump[0].Addrs) > 0:
		return e.Jump[0].Addrs[0]
	case e.Dialer == box.DialTCP && len(e.Addrs) > 0:
		return e.Addrs[0]
	}
	return ""
}

// final tells whether a link has stopped trying.
func final(s mesh.LinkState) bool { return s == mesh.Refused || s == mesh.Gone }
