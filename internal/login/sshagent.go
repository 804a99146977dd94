package login

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

const (
	agentListLimit = 5 * time.Second
	// agentSignLimit leaves time for a person to touch a security key or to
	// confirm the use of a key.
	agentSignLimit = time.Minute
)

// agentKey is one key that an ssh-agent holds. No connection to the agent is
// kept between uses: each list and each signature opens one and closes it, so
// a handshake that somebody else drives cannot leak one.
type agentKey struct {
	public  ssh.PublicKey
	comment string
	sign    func(data []byte, algorithm string) (*ssh.Signature, error)
}

func (k agentKey) identity() *identity {
	return &identity{what: "agent key " + ssh.FingerprintSHA256(k.public), public: k.public, sign: k.sign}
}

type agentKeys []agentKey

// find returns the key with this public half; nil finds none.
func (ks agentKeys) find(public ssh.PublicKey) (agentKey, bool) {
	if public == nil {
		return agentKey{}, false
	}
	for _, k := range ks {
		if sameKey(k.public, public) {
			return k, true
		}
	}
	return agentKey{}, false
}

// agentSocket is where the agent that an Identity names listens; "" is none.
func (d *Dialer) agentSocket(name string) string {
	if name != "SSH_AUTH_SOCK" {
		return name
	}
	if socket := d.getenv(name); socket != "" {
		return socket
	}
	return defaultAgent
}

// agentKeys lists the agent's keys; an agent that does not answer is passed over.
func (o *offer) agentKeys(name string) agentKeys {
	keys, err := listAgent(o.conn.ctx, o.dialer.agentSocket(name))
	if err != nil {
		o.dialer.log().Debug("ssh-agent is passed over", "err", err)
		if name != "SSH_AUTH_SOCK" || defaultAgent == "" {
			o.pass("the ssh-agent: %v", err)
		}
	}
	return keys
}

func listAgent(ctx context.Context, socket string) (agentKeys, error) {
	if socket == "" {
		return nil, nil
	}
	var keys agentKeys
	err := withAgent(ctx, socket, agentListLimit, func(a agent.ExtendedAgent) error {
		held, err := a.List()
		for _, k := range held {
			public, err := ssh.ParsePublicKey(k.Blob)
			if err != nil {
				continue // a kind that x/crypto/ssh does not know
			}
			keys = append(keys, agentKey{public: public, comment: k.Comment, sign: agentSign(ctx, socket, public)})
		}
		return err
	})
	return keys, err
}

func agentSign(ctx context.Context, socket string, public ssh.PublicKey) func([]byte, string) (*ssh.Signature, error) {
	return func(data []byte, algorithm string) (signature *ssh.Signature, err error) {
		var flags agent.SignatureFlags
		switch algorithm {
		case ssh.KeyAlgoRSASHA256:
			flags = agent.SignatureFlagRsaSha256
		case ssh.KeyAlgoRSASHA512:
			flags = agent.SignatureFlagRsaSha512
		}
		err = withAgent(ctx, socket, agentSignLimit, func(a agent.ExtendedAgent) error {
			signature, err = a.SignWithFlags(public, data, flags)
			return err
		})
		return signature, err
	}
}

// withAgent calls use with a connection to the agent, which ends with ctx or
// after limit.
func withAgent(ctx context.Context, socket string, limit time.Duration, use func(agent.ExtendedAgent) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := dialAgent(ctx, socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	// Without io.Closer in sight the client starts no goroutine of its own.
	err = use(agent.NewClient(struct{ io.ReadWriter }{conn}))
	if err != nil && ctx.Err() != nil {
		return errors.Join(errors.New("the agent did not answer in time"), ctx.Err())
	}
	return err
}
