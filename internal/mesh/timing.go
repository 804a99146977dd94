package mesh

import (
	"math/rand/v2"
	"time"
)

// The engine's times. Each is a promise to the person: see the architecture page.
const (
	// connectTimeout bounds one attempt: dialling, handshake and login.
	connectTimeout = 15 * time.Second
	// keepAliveInterval and keepAliveDeadline together notice a dead path
	// within 9 s.
	keepAliveInterval = 4 * time.Second
	keepAliveDeadline = 5 * time.Second
	// wakeDeadline is the keepalive's deadline after a sleep, when a dead path
	// is more likely than a slow one.
	wakeDeadline = 2 * time.Second

	backoffFirst = 250 * time.Millisecond
	backoffMost  = 15 * time.Second
	// backoffHeld is the longest wait while callers are being held.
	backoffHeld = 500 * time.Millisecond
	// stableTime is how long a connection has to live before its loss is a
	// first failure again.
	stableTime = 5 * time.Second

	// holdTime is how long a caller waits for a link that is not up.
	holdTime = 8 * time.Second
	// holdMost is how many callers one link holds; more are turned away.
	holdMost = 512
	// openTimeout bounds the wait for the box's answer to one channel open.
	openTimeout = 10 * time.Second

	// probeInterval is how old the proof of a usable forward may become.
	probeInterval = 10 * time.Second
	// A forward that is not usable is asked more often, slowing down between
	// these two, so that a service that just started is seen soon.
	probeSoonest = 250 * time.Millisecond
	probeLatest  = 5 * time.Second

	// watchInterval is how often sleep and unbound listeners are looked for.
	watchInterval = time.Second
	rebindEvery   = 5 // in watch intervals
)

// backoff is the delay before each next attempt of one link: doubling from
// backoffFirst to backoffMost, each within 50 to 100 % so that many links do not
// march in step.
type backoff struct{ failures int }

func (b *backoff) next() time.Duration {
	d := backoffMost
	if b.failures < 6 {
		d = backoffFirst << b.failures
	}
	b.failures++
	return d/2 + rand.N(d/2+1)
}

func (b *backoff) reset() { b.failures = 0 }
