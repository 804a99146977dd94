package mesh

import (
	"context"
	"net"
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"
)

// Peer is one member that shall be linked. The mesh compares peers by ID; a
// peer whose Revision differs is dialled anew, its listeners stay.
type Peer struct {
	ID       string
	Revision string
	// Dial opens a fresh byte stream to the peer's SSH server and says how to
	// log in. It is called for every attempt, so address and credentials are
	// today's. It must honour ctx. Errors may wrap ErrGone or ErrRefused.
	// ClientConfig.HostKeyCallback must be set; Timeout is ignored.
	Dial func(ctx context.Context) (net.Conn, *ssh.ClientConfig, error)
	// KeepAlive is the interval of liveness probes; 0 takes the default.
	KeepAlive time.Duration
	// Gate names what counts handshakes on the other side, such as a gateway
	// before many boxes; peers of one gate make at most three at a time. "":
	// the peer has a server of its own.
	Gate string
	// ShareLocal lets other users of this machine call the forwards. Without
	// it they are reset and counted, where the system can tell who calls.
	ShareLocal bool
	Forwards   []Forward
}

// Forward carries connections from a local address through the peer's link to
// a target as seen from the box. The mesh compares forwards by Target within
// their peer.
type Forward struct {
	Target string // "127.0.0.1:8080"
	// Listen are the local addresses to try, in order; the first that can be
	// bound is kept for as long as the forward is wanted. Port 0 takes a free one.
	Listen []netip.AddrPort
}

// LinkState is the state of the one SSH connection to a peer; see link.go for
// the drawing.
type LinkState string

// The states of a link.
const (
	Connecting LinkState = "connecting"
	Up         LinkState = "up"
	Waiting    LinkState = "waiting" // the last attempt failed; the next is at NextTry
	Refused    LinkState = "refused" // host key or login: final until the peer's Revision changes
	Gone       LinkState = "gone"    // the peer does not exist any more
)

// ForwardState says what a caller of a forward would meet now.
type ForwardState string

// The states of a forward.
const (
	Unproven   ForwardState = "unproven"   // the link is up, the first probe is under way
	Usable     ForwardState = "usable"     // a channel to the target opened within the last probe interval
	NoTarget   ForwardState = "refused"    // the box says that nothing listens there
	Prohibited ForwardState = "prohibited" // the box's SSH server forbids forwarding to it
	Down       ForwardState = "down"       // the link is not up
	Unbound    ForwardState = "unbound"    // no local address could be had
)

// Snapshot is all that can be seen of the mesh, at one moment, sorted by peer
// ID and forward target. It shares no memory with the mesh.
type Snapshot struct {
	Links []LinkStatus
}

// LinkStatus is one link as seen from outside.
type LinkStatus struct {
	ID        string
	State     LinkState
	Since     time.Time     // when State began
	Reason    string        // why it is not Up; "" when it is
	Err       error         // what Reason was made from; its chain is Peer.Dial's or the SSH library's
	NextTry   time.Time     // Waiting only
	RoundTrip time.Duration // of the last keepalive answer; 0 before the first
	Heals     uint64        // times it came back Up after having been Up
	Attempts  uint64        // dials since it was last Up
	Forwards  []ForwardStatus
}

// ForwardStatus is one forward as seen from outside.
type ForwardStatus struct {
	Target   string
	Local    netip.AddrPort // zero when Unbound
	Fallback bool           // Local is not the first of Listen
	State    ForwardState
	Since    time.Time
	Reason   string
	Proven   time.Time // when a channel to the target last opened
	Open     int64     // connections now
	Held     int64     // callers waiting for the link now
	Total    uint64    // connections accepted so far
	Refused  uint64    // callers turned away: target refused, held too long, too many
	// Strangers are callers turned away because they are other users of this machine.
	Strangers uint64
	In, Out   uint64 // bytes from the box, bytes to the box
}
