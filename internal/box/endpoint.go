package box

import "time"

// Dialer says how the byte stream to a box's SSH server is opened.
type Dialer string

// The ways to open a byte stream.
const (
	DialTCP     Dialer = "tcp"     // Addrs, raced in order
	DialUnix    Dialer = "unix"    // Socket
	DialCommand Dialer = "command" // Command, a shell line as of ProxyCommand; bytes on its stdin and stdout
	DialOpener  Dialer = "opener"  // the provider's own Open (WebSocket gates and the like)
)

// Endpoint says where a box's SSH server is and how to log in. It is a
// provider's answer of the moment: addresses, ports and credentials may differ
// at the next Get.
type Endpoint struct {
	Dialer  Dialer   `json:"dialer"`
	Addrs   []string `json:"addrs,omitempty"` // host:port, most wanted first; raced
	Socket  string   `json:"socket,omitempty"`
	Command string   `json:"command,omitempty"`
	// Jump are SSH hops to pass, nearest first. Each is logged in to as an
	// endpoint of its own; the last one opens Addrs[0].
	Jump []Endpoint `json:"jump,omitempty"`

	User string `json:"user"`
	// SecretUser: User is a credential. It is never shown or logged.
	SecretUser bool `json:"secret_user,omitempty"`

	Identity Identity `json:"identity"`
	HostKey  HostKey  `json:"host_key"`

	KeepAlive time.Duration `json:"keep_alive,omitempty"` // 0: the mesh's default
	Can       Can           `json:"can"`
	// CredentialEnds is when the login itself stops working; zero: never.
	CredentialEnds time.Time `json:"credential_ends,omitzero"`
}

// Identity says which keys are offered, in the order of the fields.
type Identity struct {
	LeaseKey     bool     `json:"lease_key,omitempty"`    // the key that crabbox made for this lease
	Files        []string `json:"files,omitempty"`        // private keys, OpenSSH or PEM, perhaps encrypted
	Certificates []string `json:"certificates,omitempty"` // OpenSSH certificates for those keys
	// Agent is the socket of an ssh-agent; "" none. "SSH_AUTH_SOCK" stands
	// for that variable's value at the time of the login.
	Agent string `json:"agent,omitempty"`
	// Only: of the agent's keys, offer only those in Files (IdentitiesOnly).
	Only bool `json:"only,omitempty"`
}

// HostKey says which host keys are believed. With Keys set, exactly those; else
// the known-hosts files decide, and an unknown host is pinned at first contact.
type HostKey struct {
	Keys  []string `json:"keys,omitempty"`        // authorized_keys format: known before the first packet
	Files []string `json:"known_hosts,omitempty"` // the user's known_hosts files, asked before ours
	// Alias is the name to look up in Files instead of the address
	// (HostKeyAlias); "" for the address.
	Alias string `json:"alias,omitempty"`
	// Strict refuses a host that Files do not know (StrictHostKeyChecking yes).
	Strict bool `json:"strict,omitempty"`
}

// Can says what the SSH service at the endpoint allows, as far as is known.
type Can struct {
	Exec          bool `json:"exec"`
	SFTP          bool `json:"sftp"`
	LocalForward  bool `json:"local_forward"`
	RemoteForward bool `json:"remote_forward"`
	SocketForward bool `json:"socket_forward"`
}

// CanAll is what a stock OpenSSH server allows.
var CanAll = Can{Exec: true, SFTP: true, LocalForward: true, RemoteForward: true, SocketForward: true}
