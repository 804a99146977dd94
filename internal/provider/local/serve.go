package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/crypto/ssh"

	"crabbox/internal/sshbox"
)

const (
	// lookAround is how often a box looks at the wall clock, since a timer
	// stands still while the machine sleeps, and for its folder, since without
	// one nobody could ever reach or end it.
	lookAround = 5 * time.Second
	// lastBreath is how long a box's commands and connections may take to end.
	lastBreath = 2 * time.Second
)

// serve is the life of a box's process. base is the folder of all boxes.
//
//	started --lock, listen--> waiting for "go" --go--> serving
//	   |                          | stdin ends           | SIGTERM, its time or its folder is gone, server fails
//	   v                          v                      v
//	refused: folder stays     ending: kill all that runs in the box, remove the folder
func serve(base, id string) error {
	debug.SetGCPercent(25) // a box idles; memory counts more than time
	r, server, err := prepare(base, id)
	if err != nil {
		return refuse(err, false)
	}
	dir := filepath.Join(base, id)
	lock := flock.New(filepath.Join(dir, fileLock), flock.SetFlag(os.O_RDWR))
	ctx, cancel := context.WithTimeout(context.Background(), lastBreath)
	_, err = lock.TryLockContext(ctx, lockPoll) // others may be having a look
	cancel()
	if err != nil {
		return refuse(fmt.Errorf("lock: %w", err), false)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, fileSocket))
	if err != nil {
		return refuse(err, false)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false) // it goes with the folder
	defer end(base, id, lock)

	// Caught and not ignored: what is ignored here would be ignored by commands too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if !released() {
		_ = listener.Close()
		return errors.New("the launcher died")
	}
	if err := tell(answer{Ready: true}); err != nil {
		return err
	}
	letGo()
	run(ctx, dir, r.Life.Expires, server, listener)
	return nil
}

// prepare reads what the box needs to serve.
func prepare(base, id string) (record, *sshbox.Server, error) {
	if err := ownProcesses(); err != nil {
		return record{}, nil, err
	}
	dir := filepath.Join(base, id)
	r, err := readRecord(dir)
	if err != nil {
		return r, nil, err
	}
	pem, err := os.ReadFile(filepath.Join(dir, fileHostKey))
	if err != nil {
		return r, nil, err
	}
	host, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return r, nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(r.Life.Authorized))
	if err != nil {
		return r, nil, err
	}
	return r, &sshbox.Server{
		HostKey: host, Authorized: []ssh.PublicKey{key}, User: r.Life.User,
		Home: r.Life.Home, Shell: r.Life.Shell, Env: r.Life.Env, Reaper: &sshbox.Reaper{},
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, nil
}

// released waits for the launcher's "go"; false when the launcher died instead.
func released() bool {
	line, err := bufio.NewReaderSize(os.Stdin, 16).ReadString('\n')
	return err == nil && line == goWord
}

// letGo closes the pipes to the launcher. What prints without thinking from now
// on prints into nothing.
func letGo() {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	_, _ = os.Stdin.Close(), os.Stdout.Close()
	if err == nil {
		os.Stdin, os.Stdout = null, null
	}
}

// run serves until the box's end has come, and returns when the server is done
// or had its time to be.
func run(ctx context.Context, dir string, expires time.Time, server *sshbox.Server, listener net.Listener) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var parts sync.WaitGroup
	parts.Go(func() { server.Reaper.Run(ctx) })
	parts.Go(func() { defer cancel(); untilOver(ctx, dir, expires) })
	parts.Go(func() {
		defer cancel()
		if err := server.Serve(ctx, listener); err != nil {
			slog.New(slog.NewTextHandler(os.Stderr, nil)).Error("the SSH server ended", "error", err)
		}
	})
	<-ctx.Done()
	done := make(chan struct{})
	go func() { parts.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(lastBreath): // the process ends next and takes the rest along
	}
}

// untilOver waits for the end of ctx, of the box's time (by the wall clock; a
// zero time never comes), or of its folder.
func untilOver(ctx context.Context, dir string, expires time.Time) {
	expires = expires.Round(0) // no monotonic reading
	for {
		pause := lookAround
		if !expires.IsZero() {
			pause = min(pause, expires.Sub(time.Now().Round(0)))
		}
		if _, err := os.Lstat(dir); pause <= 0 || errors.Is(err, fs.ErrNotExist) {
			return
		}
		look := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			look.Stop()
			return
		case <-look.C:
		}
	}
}

// end is the box's last act: nothing of it runs any more and nothing of it
// stays on disk. The lock goes last, with the process, so that nobody takes the
// box for dead while it is not.
func end(base, id string, lock *flock.Flock) {
	endOthers()
	if err := removeFolder(base, id); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	_ = lock.Close()
}
