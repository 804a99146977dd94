//go:build unix

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"crabbox/internal/agent"
	"crabbox/internal/agent/api"
	"crabbox/internal/agent/client"
	"crabbox/internal/box"
	"crabbox/internal/crew"
	"crabbox/internal/login"
	"crabbox/internal/provider"
	"crabbox/internal/store"
)

// TestMain lets the test binary be crabbox: the agent that clients start, the
// stream that OpenSSH calls, and a command that holds a crew.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "agent" {
		os.Exit(beCrabbox(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

// What the re-executed test binary reads from its environment.
const (
	envVersion = "CBX_TEST_VERSION"
	envIdle    = "CBX_TEST_IDLE"
	envDie     = "CBX_TEST_DIE"
)

func beCrabbox(args []string) int {
	home := os.Getenv("CRABBOX_HOME")
	if word := os.Getenv(envDie); word != "" && args[0] == "run" {
		fmt.Fprintln(os.Stderr, word)
		return 1
	}
	if err := act(home, args); err != nil {
		fmt.Fprintln(os.Stderr, "crabbox:", err)
		return 1
	}
	return 0
}

func act(home string, args []string) error {
	ctx := context.Background()
	kept, err := store.Open(home)
	if err != nil {
		return err
	}
	keeper := newKeeper(kept)
	switch args[0] {
	case "run":
		idle, _ := time.ParseDuration(os.Getenv(envIdle))
		return agent.Run(ctx, agent.Options{Keeper: keeper, Version: os.Getenv(envVersion), IdleStop: idle})
	case "stream":
		lease, err := kept.Lease(box.ID(args[1]))
		if err != nil {
			return err
		}
		target, err := keeper.Target(lease)
		if err != nil {
			return err
		}
		conn, _, err := keeper.Login.Dial(ctx, target)
		if err != nil {
			return err
		}
		go func() {
			io.Copy(conn, os.Stdin)
			conn.Close()
		}()
		_, err = io.Copy(os.Stdout, conn)
		return err
	case "hold":
		c, err := client.Connect(ctx, client.Options{Home: home, Executable: args[2], Version: os.Getenv(envVersion), Warn: func(string) {}})
		if err != nil {
			return err
		}
		return c.Watch(ctx, args[1], api.WatchRequest{Hold: true}, func(api.Crew) error { return nil })
	}
	return errors.New("unknown command")
}

func newKeeper(kept *store.Store) *crew.Keeper {
	return &crew.Keeper{
		Store:     kept,
		Providers: provider.Registry{parkDescriptor()},
		Settings: func(provider.Descriptor) (provider.Settings, error) {
			return provider.Settings{Dir: kept.Path("providers", "park")}, nil
		},
		Login: &login.Dialer{Pins: kept, Getenv: func(string) string { return "" }},
		Owner: "tester",
		Now:   time.Now,
	}
}

// world is one CRABBOX_HOME with boxes that live in the test's own process.
type world struct {
	t     testing.TB
	home  string
	store *store.Store
	crew  string // a name that no other test has, so addresses differ too

	mu    sync.Mutex // guards warns
	warns []string
}

func newWorld(t testing.TB) *world { return newWorldIn(t, "cbx") }

func newWorldIn(t testing.TB, prefix string) *world {
	t.Helper()
	home, err := os.MkdirTemp("", prefix)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := store.Open(home)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(envVersion, "v1")
	t.Setenv("GORACE", "atexit_sleep_ms=0") // of the re-executed binary; a second for each otherwise
	w := &world{t: t, home: home, store: kept, crew: "t" + box.NewNonce()[:8]}
	t.Cleanup(func() {
		w.endAgent()
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) options() client.Options {
	w.t.Helper()
	executable, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	return client.Options{Home: w.home, Executable: executable, Version: "v1", Warn: func(text string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.warns = append(w.warns, text)
	}}
}

func (w *world) connect() *client.Client {
	w.t.Helper()
	c, err := client.Connect(ctxOf(w.t), w.options())
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// ctxOf bounds whatever a test waits for.
func ctxOf(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// endAgent ends what the test has started, if it runs.
func (w *world) endAgent() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Find(ctx, w.options())
	if err != nil {
		return
	}
	v, err := c.Version(ctx)
	if err != nil {
		return
	}
	if err := c.Stop(ctx); err != nil {
		w.t.Errorf("agent %d does not stop: %v", v.PID, err)
		syscall.Kill(v.PID, syscall.SIGKILL)
	}
	w.ended(v.PID)
}

// ended waits until a process is gone.
func (w *world) ended(pid int) {
	w.t.Helper()
	eventually(w.t, "the end of the agent", func() error {
		if err := syscall.Kill(pid, 0); err == nil {
			return fmt.Errorf("process %d is there", pid)
		}
		return nil
	})
}

func (w *world) pid(c *client.Client) int {
	w.t.Helper()
	v, err := c.Version(ctxOf(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	return v.PID
}

// eventually polls until check is content.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	within(t, 20*time.Second, what, check)
}

func within(t testing.TB, limit time.Duration, what string, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not within %v: %v", what, limit, err)
}

// member returns the crew's member with that slug.
func member(c api.Crew, slug string) (api.Member, error) {
	for _, m := range c.Members {
		if m.Slug == slug {
			return m, nil
		}
	}
	return api.Member{}, fmt.Errorf("no member %s among %d", slug, len(c.Members))
}

// usable waits until all of the crew can be used, and returns it.
func (w *world) usable(c *client.Client, name string) (crew api.Crew) {
	w.t.Helper()
	eventually(w.t, "crew "+name+" usable", func() (err error) {
		if crew, err = c.Crew(ctxOf(w.t), name); err != nil {
			return err
		}
		if !crew.Usable() || len(crew.Members) == 0 {
			return fmt.Errorf("%+v", crew)
		}
		return nil
	})
	return crew
}

// read connects to a local address and returns all that it says.
func read(address string) (string, error) {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	data, err := io.ReadAll(c)
	return string(data), err
}

func mustSay(t testing.TB, address, want string) {
	t.Helper()
	if got, err := read(address); err != nil || got != want {
		t.Fatalf("%s says %q, %v; want %q", address, got, err, want)
	}
}
