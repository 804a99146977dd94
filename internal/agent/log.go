package agent

import (
	"io"
	"log/slog"
	"os"
	"sync"

	"crabbox/internal/agent/api"
	"crabbox/internal/fault"
	"crabbox/internal/store"
)

// logMost is how large agent.log gets before it becomes agent.log.1, in place
// of the one before.
const logMost = 1 << 20

// OpenLog opens the agent's log: text lines, bounded in size. Whoever logs
// keeps secrets out of it, a box's user name included where that is one.
func OpenLog(home *store.Store) (*slog.Logger, io.Closer, error) {
	f := &logFile{path: home.Path(api.LogFile), most: logMost}
	if err := f.open(); err != nil {
		return nil, nil, fault.New(fault.Failed, "Set CRABBOX_HOME to a folder of your own that can be written to.", "open the agent's log: %w", err)
	}
	return slog.New(slog.NewTextHandler(f, nil)), f, nil
}

// logFile is an io.Writer that never lets its file grow beyond a limit by more
// than one line.
type logFile struct {
	path string
	most int64

	mu   sync.Mutex // guards the fields below
	file *os.File
	size int64
}

func (f *logFile) open() error {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	f.file, f.size = file, info.Size()
	return nil
}

func (f *logFile) Write(line []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return 0, os.ErrClosed
	}
	if f.size > 0 && f.size+int64(len(line)) > f.most {
		f.rotate()
	}
	n, err := f.file.Write(line)
	f.size += int64(n)
	return n, err
}

// rotate begins a new file. Where that cannot be had, the old one goes on.
func (f *logFile) rotate() {
	old := f.file
	if err := os.Rename(f.path, f.path+".1"); err != nil {
		f.size = 0 // not again before as much has been written once more
		return
	}
	if err := f.open(); err != nil {
		f.file, f.size = old, 0
		return
	}
	old.Close()
}

func (f *logFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
