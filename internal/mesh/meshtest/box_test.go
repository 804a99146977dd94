package meshtest

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// login dials b and logs in; the connection ends with the test.
func login(t *testing.T, b *Box) *ssh.Client {
	t.Helper()
	c, err := tryLogin(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func tryLogin(ctx context.Context, b *Box) (*ssh.Client, error) {
	stream, config, err := b.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c, channels, requests, err := ssh.NewClientConn(stream, "box", config)
	if err != nil {
		_ = stream.Close()
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

// say sends text and reports whether it came back.
func say(c net.Conn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != text {
		return errors.New("got " + string(got))
	}
	return nil
}

func dial(t *testing.T, c *ssh.Client, address string) net.Conn {
	t.Helper()
	conn, err := c.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// inBubble runs f with a box under fake time, and for real as well.
func inBubble(t *testing.T, f func(*testing.T, *Box)) {
	t.Run("fake time", func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, New(t)) }) })
	t.Run("real time", func(t *testing.T) { f(t, New(t)) })
}

func TestServices(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Box) {
		b.Echo(8080)
		c := login(t, b)
		echo := dial(t, c, "127.0.0.1:8080")
		defer echo.Close()
		if err := say(echo, "hello"); err != nil {
			t.Error(err)
		}
		wantReason(t, c, "127.0.0.1:8081", ssh.ConnectionFailed)
		wantReason(t, c, "10.0.0.1:8080", ssh.ConnectionFailed)
		b.Handle(8081, func(c net.Conn) { _, _ = io.WriteString(c, "bye") })
		if got, err := io.ReadAll(dial(t, c, "localhost:8081")); err != nil || string(got) != "bye" {
			t.Errorf("got %q, %v", got, err)
		}
		b.Handle(8080, nil)
		wantReason(t, c, "127.0.0.1:8080", ssh.ConnectionFailed)
		if err := say(echo, "still open"); err != nil {
			t.Error(err)
		}
	})
}

func wantReason(t *testing.T, c *ssh.Client, address string, want ssh.RejectionReason) {
	t.Helper()
	_, err := c.Dial("tcp", address)
	if refusal, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || refusal.Reason != want {
		t.Errorf("%s: got %v, want reason %v", address, err, want)
	}
}

func TestProhibit(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Box) {
		b.Echo(8080)
		c := login(t, b)
		b.Prohibit(true)
		wantReason(t, c, "127.0.0.1:8080", ssh.Prohibited)
		if _, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
			t.Error("a reverse forward was granted")
		}
		b.Prohibit(false)
		if err := say(dial(t, c, "127.0.0.1:8080"), "again"); err != nil {
			t.Error(err)
		}
	})
}

func TestCut(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Box) {
		b.Echo(8080)
		first, second := login(t, b), login(t, b)
		conn := dial(t, first, "127.0.0.1:8080")
		if b.Dials() != 2 || b.Live() != 2 {
			t.Errorf("%d dials, %d live; want 2 and 2", b.Dials(), b.Live())
		}
		b.Cut()
		if b.Live() != 0 {
			t.Errorf("%d live after the cut", b.Live())
		}
		if err := first.Wait(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("first ended with %v", err)
		}
		_ = second.Wait()
		if err := say(conn, "x"); err == nil {
			t.Error("the forward outlived the cut")
		}
		third := login(t, b)
		if err := say(dial(t, third, "127.0.0.1:8080"), "anew"); err != nil {
			t.Error(err)
		}
		_ = third.Close()
		if b.Live() != 0 {
			t.Errorf("%d live after Close", b.Live())
		}
	})
}

func TestFreezeAndThaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(t)
		b.Echo(8080)
		c := login(t, b)
		conn := dial(t, c, "127.0.0.1:8080")
		b.Freeze()
		said := make(chan error, 1)
		go func() { said <- say(conn, "anybody?") }()
		time.Sleep(time.Hour)
		select {
		case err := <-said:
			t.Fatalf("something came through: %v", err)
		default:
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		if _, _, err := b.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Errorf("dial into the black hole: %v after %v", err, time.Since(begin))
		}
		late := make(chan error, 1)
		go func() {
			again, err := tryLogin(t.Context(), b)
			if err == nil {
				err = again.Close()
			}
			late <- err
		}()
		synctest.Wait()

		b.Thaw()
		if err := <-said; err != nil {
			t.Errorf("after the thaw: %v", err)
		}
		if err := <-late; err != nil {
			t.Errorf("the dial that waited: %v", err)
		}
	})
}

func TestCloseDuringFreezeIsHeardAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(t)
		c := login(t, b)
		b.Freeze()
		_ = c.Close()
		synctest.Wait()
		if b.Live() != 0 || len(b.links) != 1 {
			t.Errorf("%d live, %d served; want 0 and 1", b.Live(), len(b.links))
		}
		b.Thaw()
		synctest.Wait()
		if len(b.links) != 0 {
			t.Error("the server did not hear of the end")
		}
	})
}

func TestRefuse(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Box) {
		b.Echo(8080)
		conn := dial(t, login(t, b), "127.0.0.1:8080")
		b.Refuse(true)
		if _, _, err := b.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v", err)
		}
		if err := say(conn, "old ones stay"); err != nil {
			t.Error(err)
		}
		b.Refuse(false)
		login(t, b)
	})
}

func TestKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Box) {
		b.RefuseKey(true)
		if _, err := tryLogin(t.Context(), b); err == nil || errors.Is(err, ErrHostKey) {
			t.Errorf("with a refused user key: %v", err)
		}
		b.RefuseKey(false)
		login(t, b)
		b.ChangeKey()
		if _, err := tryLogin(t.Context(), b); !errors.Is(err, ErrHostKey) {
			t.Errorf("with another host key: %v", err)
		}
	})
}

func TestLatencyOfALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(t)
		b.Echo(8080)
		c := login(t, b)
		conn := dial(t, c, "127.0.0.1:8080")
		b.SetLatency(40 * time.Millisecond)
		begin := time.Now()
		if err := say(conn, "ping"); err != nil || time.Since(begin) != 80*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestCloseEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(t)
		b.Echo(8080)
		c := login(t, b)
		conn := dial(t, c, "127.0.0.1:8080")
		b.Freeze()
		b.Close()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("the box still talks")
		}
		if _, _, err := b.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial after Close: %v", err)
		}
	})
}
