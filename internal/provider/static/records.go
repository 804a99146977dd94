package static

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

const (
	recordVersion = 1
	lockPoll      = 10 * time.Millisecond
)

// record is one lease on disk.
type record struct {
	Version int        `json:"version"`
	ID      string     `json:"id"` // of the lease, and the box's provider id
	Nonce   string     `json:"nonce"`
	Wish    wish       `json:"wish"`
	Place   string     `json:"place"` // which machine it holds; see way.place
	Labels  box.Labels `json:"labels"`
}

// who names the holder of a machine for other people's eyes.
func (r record) who() string {
	name := r.Labels[box.KeySlug]
	if crew := r.Labels[box.KeyCrew]; crew != "" {
		name += " of crew " + crew
	}
	return strings.TrimSpace(name + " (" + r.ID + ")")
}

// records is the folder of leases, one file each. Readers need no lock, since
// files are replaced whole; who decides by what is there holds the folder's.
type records struct {
	dir string
	log *slog.Logger
}

// claim writes mine unless its machine is held. It returns the record that
// holds the machine now: mine, or the other one.
func (rs records) claim(ctx context.Context, mine record) (record, error) {
	unlock, err := rs.lock(ctx)
	if err != nil {
		return record{}, err
	}
	defer unlock()
	all, err := rs.all()
	if err != nil {
		return record{}, err
	}
	for _, r := range all {
		if r.ID == mine.ID || r.Place == mine.Place {
			return r, nil
		}
	}
	return mine, rs.write(mine)
}

// get returns one record; fault.NotFound.
func (rs records) get(id string) (record, error) {
	if _, err := box.ParseID(id); err != nil {
		return record{}, fault.New(fault.NotFound, "", "provider ssh has no lease %q", id)
	}
	data, err := os.ReadFile(rs.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, fault.New(fault.NotFound, "", "provider ssh has no lease %s", id)
	}
	if err != nil {
		return record{}, fault.New(fault.Failed, "", "lease record: %w", err)
	}
	var r record
	err = json.Unmarshal(data, &r)
	switch {
	case err == nil && r.Version != recordVersion:
		err = fmt.Errorf("it has format %d, this crabbox knows %d", r.Version, recordVersion)
	case err == nil && r.ID != id:
		err = fmt.Errorf("it is of lease %q", r.ID)
	}
	if err != nil {
		return record{}, fault.New(fault.Failed, "Remove the file to give its machine free.", "lease record %s cannot be read: %w", rs.path(id), err)
	}
	return r, nil
}

// all returns the records by id. One that cannot be read is reported in the log
// and costs only itself.
func (rs records) all() ([]record, error) {
	entries, err := os.ReadDir(rs.dir)
	if err != nil {
		return nil, fault.New(fault.Failed, "", "lease records: %w", err)
	}
	var all []record
	for _, entry := range entries {
		id, ok := strings.CutSuffix(entry.Name(), ".json")
		if _, err := box.ParseID(id); !ok || err != nil {
			continue
		}
		r, err := rs.get(id)
		switch {
		case errors.Is(err, fault.NotFound): // released meanwhile
		case err != nil:
			rs.log.Warn("lease record is passed over", "err", err)
		default:
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b record) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// relabel replaces a lease's labels; they must be of the same lease and attempt.
func (rs records) relabel(ctx context.Context, id string, l box.Labels) error {
	unlock, err := rs.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := rs.get(id)
	if err != nil {
		return err
	}
	b, nonce, err := box.FromLabels(l)
	if err != nil {
		return fault.New(fault.Usage, "", "the labels of lease %s: %w", id, err)
	}
	if string(b.ID) != r.ID || nonce != r.Nonce {
		return fault.New(fault.NotOurs, "", "the labels are of lease %s, the record is of %s", b.ID, id)
	}
	r.Labels = l
	return rs.write(r)
}

// remove forgets a lease; gone already is success.
func (rs records) remove(ctx context.Context, id, nonce string) error {
	unlock, err := rs.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := rs.get(id)
	switch {
	case errors.Is(err, fault.NotFound):
		return nil
	case err != nil:
		return err
	case r.Nonce != nonce:
		return fault.New(fault.NotOurs, "", "lease %s was made by somebody else", id)
	}
	if err := os.Remove(rs.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Failed, "", "lease record: %w", err)
	}
	return nil
}

func (rs records) path(id string) string { return filepath.Join(rs.dir, id+".json") }

// lock takes the folder among all processes of this person.
func (rs records) lock(ctx context.Context) (unlock func(), err error) {
	l := flock.New(filepath.Join(rs.dir, "lock"))
	_, err = l.TryLockContext(ctx, lockPoll)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fault.New(fault.Timeout, "Another crabbox command holds it; try again when that one has ended.", "waiting for the lock of provider ssh: %w", err)
	case err != nil:
		return nil, fault.New(fault.Failed, "", "the lock of provider ssh: %w", err)
	}
	return func() { l.Unlock() }, nil
}

// write replaces r's file atomically. os.CreateTemp makes it 0600.
func (rs records) write(r record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(rs.dir, "."+r.ID+".*.tmp")
	if err != nil {
		return fault.New(fault.Failed, "", "lease record: %w", err)
	}
	_, err = temp.Write(append(data, '\n'))
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), rs.path(r.ID))
	}
	if err != nil {
		os.Remove(temp.Name())
		return fault.New(fault.Failed, "Make room on the disk, or check CRABBOX_HOME.", "lease record: %w", err)
	}
	return nil
}
