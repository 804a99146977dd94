package meshtest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// ends returns both ends of a connection and closes them with the test.
func ends(t *testing.T, latency time.Duration) (near, far *conn) {
	near, far = pipe("near", "far", latency)
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
	})
	return near, far
}

func TestBytesAndEndArriveInOrder(t *testing.T) {
	near, far := ends(t, 0)
	sent := bytes.Repeat([]byte("crab"), 3*wireCapacity/4) // more than the wire holds
	go func() {
		_, _ = near.Write(sent[:10])
		_, _ = near.Write(sent[10:])
		_ = near.CloseWrite()
	}()
	got, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d of %d bytes, %v", len(got), len(sent), err)
	}
	// The other direction is still open.
	if _, err := far.Write([]byte("back")); err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	if got, err := io.ReadAll(near); err != nil || string(got) != "back" {
		t.Errorf("after the half-close: %q, %v", got, err)
	}
	if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after CloseWrite: %v", err)
	}
}

func TestWriteToClosedPeerFails(t *testing.T) {
	near, far := ends(t, 0)
	_ = far.Close()
	if _, err := near.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
}

func TestCloseEndsAReadUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := ends(t, 0)
		read := make(chan error)
		go func() {
			_, err := near.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait()
		_ = near.Close()
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := ends(t, 0)
		begin := time.Now()
		_ = near.SetDeadline(begin.Add(3 * time.Second))
		_, err := near.Read(make([]byte, 1))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 3*time.Second {
			t.Errorf("read: %v after %v", err, time.Since(begin))
		}
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
			t.Errorf("%v is no timeout", err)
		}
		_ = near.SetWriteDeadline(begin.Add(5 * time.Second))
		n, err := near.Write(make([]byte, wireCapacity+1))
		if n != wireCapacity || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 5*time.Second {
			t.Errorf("write: %d, %v after %v", n, err, time.Since(begin))
		}
		// A deadline that moves while a read waits counts from then on.
		_ = far.SetReadDeadline(time.Now().Add(time.Hour))
		_ = near.SetDeadline(time.Time{})
		time.AfterFunc(time.Second, func() { _ = near.SetReadDeadline(time.Now()) })
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 6*time.Second {
			t.Errorf("moved: %v after %v", err, time.Since(begin))
		}
		if _, err := io.ReadFull(far, make([]byte, wireCapacity)); err != nil {
			t.Errorf("what was written before the deadline: %v", err)
		}
	})
}

func TestLatencyDelaysAndDoesNotAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := ends(t, 100*time.Millisecond)
		begin := time.Now()
		for range 10 {
			_, _ = near.Write([]byte("x"))
		}
		_ = near.CloseWrite()
		if _, err := io.ReadAll(far); err != nil || time.Since(begin) != 100*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}
