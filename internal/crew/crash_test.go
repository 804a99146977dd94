package crew

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/login"
	"crabbox/internal/provider"
	"crabbox/internal/store"
)

// folder is a provider whose boxes are files, so that they outlive the process
// that made them. Its ids are not the leases', as with a cloud.
type folder struct {
	dir  string
	hook func(stage string) // around Create
}

func (f folder) descriptor() provider.Descriptor {
	return provider.Descriptor{
		Name: "folder", Can: provider.Abilities{Labels: provider.LabelsNative, Owned: true, HostKey: true},
		New: func(provider.Settings) (provider.Provider, error) { return f, nil },
	}
}

func (f folder) Create(_ context.Context, r provider.Request) (box.Box, error) {
	f.hook("before the box")
	b := r.Box
	b.Provider, b.ProviderID, b.State = "folder", "vm-"+r.Nonce, box.Running
	b.Endpoint = box.Endpoint{Dialer: box.DialUnix, Socket: filepath.Join(f.dir, "none"), User: "box", Identity: box.Identity{LeaseKey: true}}
	data, err := json.Marshal(b)
	if err == nil {
		err = os.WriteFile(filepath.Join(f.dir, b.ProviderID), data, 0o600)
	}
	f.hook("with the box")
	return b, err
}

func (f folder) Get(_ context.Context, id string) (b box.Box, err error) {
	data, err := os.ReadFile(filepath.Join(f.dir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return b, fault.New(fault.NotFound, "", "there is no box %s", id)
	}
	if err == nil {
		err = json.Unmarshal(data, &b)
	}
	return b, err
}

func (f folder) List(ctx context.Context, match box.Labels) (boxes []box.Box, err error) {
	entries, err := os.ReadDir(f.dir)
	for _, entry := range entries {
		if b, err := f.Get(ctx, entry.Name()); err == nil && b.AllLabels("").Match(match) {
			boxes = append(boxes, b)
		}
	}
	return boxes, err
}

func (f folder) SetLabels(context.Context, string, box.Labels) error { return fault.Unsupported }

func (f folder) Destroy(_ context.Context, id, nonce string) error {
	if err := os.Remove(filepath.Join(f.dir, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

const crashAt, crashHome = "CRABBOX_TEST_CRASH_AT", "CRABBOX_TEST_CRASH_HOME"

// TestCrash kills a process in the middle of Warmup, at every step that touches
// the disk or the provider, and lets Release finish what it left.
func TestCrash(t *testing.T) {
	if stage := os.Getenv(crashAt); stage != "" {
		warmUpAndDie(t, os.Getenv(crashHome), stage)
		return
	}
	for _, stage := range []string{"checked", "key made", "before the box", "with the box", "box recorded", "in the login"} {
		t.Run(stage, func(t *testing.T) {
			boxes := folder{dir: t.TempDir(), hook: func(string) {}}
			k := keeperOf(t, boxes.descriptor())
			child := exec.Command(os.Args[0], "-test.run=^TestCrash$")
			child.Env = append(os.Environ(), crashAt+"="+stage, crashHome+"="+k.Store.Path()+"\n"+boxes.dir)
			out, err := child.CombinedOutput()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() >= 0 {
				t.Fatalf("the child did not die at %q: %v\n%s", stage, err, out)
			}
			leases, problems, err := k.List(t.Context(), Filter{}, true)
			if err != nil || len(problems) != 0 {
				t.Fatalf("problems %v, %v", problems, err)
			}
			if made, _ := boxes.List(t.Context(), nil); len(made) > len(leases) {
				t.Fatalf("%d boxes, %d leases: one is lost", len(made), len(leases))
			}
			if (len(leases) == 1) != (stage != "checked") {
				t.Errorf("%d leases", len(leases))
			}
			for _, l := range leases {
				if l.Box.State != box.Creating || !strings.Contains(l.Box.Note, "did not finish") {
					t.Errorf("lease %+v", l.Box)
				}
				if err := k.Release(t.Context(), l); err != nil {
					t.Error(err)
				}
			}
			if made, err := boxes.List(t.Context(), nil); err != nil || len(made) != 0 {
				t.Errorf("boxes left: %v, %v", made, err)
			}
			checkStoreEmpty(t, k)
		})
	}
}

func warmUpAndDie(t *testing.T, places, stage string) {
	home, dir, _ := strings.Cut(places, "\n")
	die := func(here string) {
		if here != stage {
			return
		}
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		self.Kill()
		select {}
	}
	s, err := store.Open(home)
	if err != nil {
		t.Fatal(err)
	}
	k := &Keeper{
		Store: s, Owner: "ann", Providers: provider.Registry{folder{dir, die}.descriptor()},
		Settings: func(provider.Descriptor) (provider.Settings, error) {
			die("checked")
			return provider.Settings{}, nil
		},
		logIn: func(context.Context, login.Target) (*ssh.Client, error) {
			die("in the login")
			return nil, fault.Conflict
		},
	}
	_, err = k.Warmup(t.Context(), Order{Provider: "folder", Crew: "demo", Slug: "web"}, func(line string) {
		switch {
		case strings.HasPrefix(line, "creating"):
			die("key made")
		case strings.HasPrefix(line, "logging in"):
			die("box recorded")
		}
	})
	t.Fatalf("still alive: %v", err)
}

// A crash between the reservation and the key, and one in the middle of Release,
// after the box was destroyed or after its keys were removed.
func TestReleaseOfHalfARecord(t *testing.T) {
	boxes := folder{dir: t.TempDir(), hook: func(string) {}}
	k := keeperOf(t, boxes.descriptor())
	l := store.Lease{Nonce: "n", Box: box.Box{ID: box.NewID(), Slug: "web", Provider: "folder", State: box.Creating}}
	for _, id := range []string{"", "vm-gone"} {
		l.Box.ProviderID = id
		if err := k.Store.SaveLease(l); err != nil {
			t.Fatal(err)
		}
		if err := k.Release(t.Context(), l); err != nil {
			t.Errorf("provider id %q: %v", id, err)
		}
		checkStoreEmpty(t, k)
	}
}
