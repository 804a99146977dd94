// Package api is what travels on the agent's socket: the paths, the JSON of
// requests and answers, and the texts that are made from an answer alone. It
// does no input or output; package agent serves it, package client speaks it.
//
// All calls are HTTP/1.1 with JSON bodies on a Unix socket that only its owner
// can reach. An answer other than 2xx carries an Error.
package api

import (
	"time"

	"crabbox/internal/box"
	"crabbox/internal/mesh"
)

// The calls. {crew} is a crew's name, {slug} a member's.
const (
	PathVersion = "GET /v1/version"                          // -> Version
	PathCrews   = "GET /v1/crews"                            // -> []Crew: those that are connected
	PathCrew    = "GET /v1/crews/{crew}"                     // -> Crew
	PathConnect = "POST /v1/crews/{crew}"                    // ConnectRequest -> Crew; wanted until disconnected, also after a restart
	PathDrop    = "DELETE /v1/crews/{crew}"                  // -> Crew as it was; NotFound when it is not connected
	PathWatch   = "POST /v1/crews/{crew}/watch"              // WatchRequest -> stream of Event, one JSON value a line
	PathCut     = "POST /v1/crews/{crew}/members/{slug}/cut" // drop the member's SSH connection; it heals (demo, tests)
	PathRefresh = "POST /v1/refresh"                         // leases changed on disk: look at once
	PathUnlock  = "POST /v1/unlock"                          // UnlockRequest: a key file's passphrase, kept in memory only
	PathStop    = "POST /v1/stop"                            // ends the agent in an orderly way
)

// The agent's files below CRABBOX_HOME that others need to know.
const (
	SocketFile = "agent.sock"
	LockFile   = "agent.lock"
	LogFile    = "agent.log"
)

// Version says which agent answers.
type Version struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
}

// ConnectRequest asks for a crew to be connected until it is disconnected.
type ConnectRequest struct {
	Provider   string `json:"provider,omitempty"` // only this provider's members
	ShareLocal bool   `json:"share_local,omitempty"`
}

// WatchRequest asks for a stream of the crew's state: at once, at every change
// (at most ten a second) and every five seconds.
type WatchRequest struct {
	// Hold connects the crew for as long as the stream is open. When the last
	// holder leaves, a crew that nobody connected for good is taken down.
	Hold bool `json:"hold,omitempty"`
	ConnectRequest
}

// Event is one line of a watch: a state of the crew or, last, why the stream
// ends. A stream that ends without a reason was cut off: the agent died.
type Event struct {
	Crew *Crew  `json:"crew,omitempty"`
	End  *Error `json:"end,omitempty"`
}

// UnlockRequest opens an encrypted private key for the agent's logins.
type UnlockRequest struct {
	File       string `json:"file"`
	Passphrase []byte `json:"passphrase"`
}

// Error is the body of every failed call.
type Error struct {
	Kind    string `json:"kind"` // a fault.Kind
	Message string `json:"error"`
	Remedy  string `json:"remedy,omitempty"`
}

// Crew is one connected crew.
type Crew struct {
	Name     string    `json:"name"`
	Detached bool      `json:"detached"` // wanted without a command that stays
	Holders  int       `json:"holders"`  // foreground commands that hold it
	Dir      string    `json:"dir"`      // where its hosts, env, forwards.json and ssh_config are
	Since    time.Time `json:"since"`
	Members  []Member  `json:"members"` // sorted by slug
	// Problems are troubles of the crew as a whole, such as a provider that
	// does not answer; one line each.
	Problems []string `json:"problems,omitempty"`
}

// Member is one box of a crew with its link.
type Member struct {
	Lease    box.ID         `json:"lease"`
	Slug     string         `json:"slug"`
	Role     string         `json:"role,omitempty"`
	Provider string         `json:"provider"`
	Names    []string       `json:"names"`   // web.demo.cbx, web.cbx, ...: full name first
	Address  string         `json:"address"` // its loopback address
	State    mesh.LinkState `json:"state"`
	Since    time.Time      `json:"since"`
	Reason   string         `json:"reason,omitempty"`
	Remedy   string         `json:"remedy,omitempty"`
	NextTry  time.Time      `json:"next_try,omitzero"`
	// RoundTrip is in seconds; 0 before the first keepalive answer.
	RoundTrip float64   `json:"round_trip,omitempty"`
	Heals     uint64    `json:"heals"`
	Attempts  uint64    `json:"attempts"`
	Expires   time.Time `json:"expires,omitzero"`
	HostKey   string    `json:"host_key,omitempty"` // how it is known: "given", "known_hosts", "first contact"
	Forwards  []Forward `json:"forwards"`           // sorted by port
}

// Forward is one exposed port of a member.
type Forward struct {
	Port      box.Port     `json:"port"`
	Local     string       `json:"local,omitempty"`    // host:port to connect to; "" when there is none
	Fallback  bool         `json:"fallback,omitempty"` // Local is not the member's own address and port
	State     ForwardState `json:"state"`
	Since     time.Time    `json:"since"`
	Reason    string       `json:"reason,omitempty"`
	Proven    time.Time    `json:"proven,omitzero"`
	Open      int64        `json:"open"`
	Held      int64        `json:"held"`
	Total     uint64       `json:"total"`
	Refused   uint64       `json:"refused"`
	Strangers uint64       `json:"strangers"` // callers of other users of this machine, turned away
	BytesIn   uint64       `json:"bytes_in"`
	BytesOut  uint64       `json:"bytes_out"`
}

// Usable tells whether every exposed port of every member can be used now.
func (c Crew) Usable() bool {
	for _, m := range c.Members {
		if m.State != LinkUp {
			return false
		}
		for _, f := range m.Forwards {
			if f.State != PortUsable {
				return false
			}
		}
	}
	return true
}
