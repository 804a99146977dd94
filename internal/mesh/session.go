package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// session is one SSH connection that is logged in, from enterUp to its loss.
type session struct {
	link   *link
	client *ssh.Client
	stream *stream
	born   time.Time
	probe  chan struct{} // capacity 1: look which forwards want proving
	rtt    atomic.Int64  // nanoseconds; 0 before the first answer

	ctx  context.Context // ends with the session
	stop context.CancelFunc

	mu    sync.Mutex // guards ended, and wg against growing after it
	ended bool
	wg    sync.WaitGroup // every goroutine that works for the session; all end with the stream
}

var (
	errRevised = errors.New("the peer's settings changed")
	errLost    = errors.New("the connection was lost")
	errSilent  = errors.New("the box does not answer any more")
)

func newSession(l *link, client *ssh.Client, st *stream) *session {
	s := &session{link: l, client: client, stream: st, born: time.Now(), probe: make(chan struct{}, 1)}
	s.ctx, s.stop = context.WithCancel(l.ctx)
	return s
}

func (s *session) age() time.Duration       { return time.Since(s.born) }
func (s *session) roundTrip() time.Duration { return time.Duration(s.rtt.Load()) }

// drop ends the connection at once and without a word to the other side: a
// polite close can hang on a dead path. The first reason given stays.
func (s *session) drop(why error) { s.stream.fail(why) }

// spawn runs work on behalf of the session; false when the session has ended.
func (s *session) spawn(work func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.wg.Go(work)
	}
	return !s.ended
}

// end takes everything of the session down and waits for it. Call it after the
// link has stopped giving the session to callers.
func (s *session) end() {
	s.drop(ErrClosed)
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.stop()
	s.client.Close()
	s.wg.Wait()
}

// serve keeps the session until it is lost, its link ends or the peer changes,
// and returns why. The caller calls end then.
func (s *session) serve(wake <-chan wakeReason) error {
	lost := make(chan struct{})
	s.spawn(func() {
		s.client.Wait()
		s.drop(errLost)
		close(lost)
	})
	s.spawn(s.prober)
	check := make(chan time.Duration, 1)
	s.spawn(func() { s.keepAlive(check) })

	for {
		select {
		case <-lost:
			return s.stream.reason()
		case <-s.ctx.Done():
			return ErrClosed
		case why := <-wake:
			switch why {
			case revise:
				return errRevised
			case awake:
				select {
				case check <- wakeDeadline:
				default: // a check is pending already
				}
			}
		}
	}
}

// keepAlive proves the path: every interval in which nothing came from the box
// it asks for an answer, and drops the session when none comes in time. Any
// byte from the box is an answer.
func (s *session) keepAlive(check <-chan time.Duration) {
	interval := s.link.keepAliveInterval()
	quiet := time.NewTimer(interval)
	defer quiet.Stop()
	asked := s.ask()
	for {
		deadline := keepAliveDeadline
		select {
		case <-s.ctx.Done():
			return
		case <-quiet.C:
			if left := interval - s.stream.silence(); left > 0 {
				quiet.Reset(left)
				continue
			}
		case deadline = <-check:
		}
		select {
		case <-asked:
			asked = s.ask()
		default: // the last question is still open: one is enough
		}
		timer := time.NewTimer(deadline)
		select {
		case <-asked:
		case <-s.ctx.Done():
		case <-timer.C:
			if s.stream.silence() >= deadline {
				s.drop(errSilent)
			}
		}
		timer.Stop()
		quiet.Reset(max(interval-s.stream.silence(), 0))
	}
}

// ask sends a keepalive and measures the round trip. The channel is closed when
// the answer is there or the stream has failed: SendRequest has no other end.
func (s *session) ask() <-chan struct{} {
	answered := make(chan struct{})
	begin := time.Now()
	if !s.spawn(func() {
		defer close(answered)
		if _, _, err := s.client.SendRequest("keepalive@openssh.com", true, nil); err == nil {
			s.rtt.Store(int64(time.Since(begin)))
		}
	}) {
		close(answered)
	}
	return answered
}

// open opens a channel to target on the box. The error is an
// *ssh.OpenChannelError when the box answered no.
func (s *session) open(ctx context.Context, target string) (ssh.Channel, <-chan *ssh.Request, error) {
	host, port, err := splitTarget(target)
	if err != nil {
		return nil, nil, err
	}
	type answer struct {
		ch   ssh.Channel
		reqs <-chan *ssh.Request
		err  error
	}
	answers := make(chan answer)
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	// OpenChannel has no deadline; when nobody waits any more, a late channel
	// is closed. It ends with the stream at the latest.
	if !s.spawn(func() {
		ch, reqs, err := s.client.OpenChannel("direct-tcpip", ssh.Marshal(directTCPIP{host, port, "127.0.0.1", 0}))
		select {
		case answers <- answer{ch, reqs, err}:
		case <-ctx.Done():
			if err == nil {
				discard(ch, reqs)
			}
		}
	}) {
		return nil, nil, errLost
	}
	select {
	case a := <-answers:
		if a.err != nil && s.stream.failed() {
			return nil, nil, errLost
		}
		return a.ch, a.reqs, a.err
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// discard closes a channel that nobody uses and waits for the box to agree, or
// for the stream to fail.
func discard(ch ssh.Channel, reqs <-chan *ssh.Request) {
	ch.Close()
	for range reqs {
	}
}

// directTCPIP is the payload of a channel open, RFC 4254 section 7.2.
type directTCPIP struct {
	Host       string
	Port       uint32
	OriginHost string
	OriginPort uint32
}

// stream is the connection below SSH. It knows when the last bytes came, as the
// sign of life, and why it failed, so that an end of file on a channel can be
// told from the loss of the connection.
type stream struct {
	net.Conn
	born  time.Time
	heard atomic.Int64 // nanoseconds after born: when the last bytes came

	once sync.Once
	bad  atomic.Bool
	why  error // set before bad
}

// silence is how long nothing has come from the box.
func (c *stream) silence() time.Duration {
	return time.Since(c.born) - time.Duration(c.heard.Load())
}

func (c *stream) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard.Store(int64(time.Since(c.born)))
	}
	if err != nil {
		c.fail(lossOf(err))
	}
	return n, err
}

func (c *stream) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		c.fail(lossOf(err))
	}
	return n, err
}

// Close is what the SSH library calls at its own end of the connection.
func (c *stream) Close() error {
	c.fail(errLost)
	return nil
}

// fail closes the connection and keeps the first reason.
func (c *stream) fail(why error) {
	c.once.Do(func() {
		c.why = why
		c.bad.Store(true)
		c.Conn.Close()
	})
}

func (c *stream) failed() bool { return c.bad.Load() }

// reason is why the stream failed; valid once failed.
func (c *stream) reason() error {
	if !c.failed() {
		return nil
	}
	return c.why
}

// lossOf words the end of a connection for people.
func lossOf(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the box closed the connection")
	}
	return fmt.Errorf("%w: %w", errLost, err)
}
