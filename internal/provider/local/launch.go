package local

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"crabbox/internal/box"
)

// How a box comes up. The launcher and the box's process talk over two pipes,
// the process's stdin and stdout; its stderr is the box's log.
//
//	launcher                              box's process
//	makes the folder
//	starts it                       ->    builds its view of the system, takes its
//	                                      lock, listens, waits for "go"
//	writes its pid to meta.json
//	"go"                            ->    says {"ready":true}, serves
//	marks meta.json ready           <-
//
// The process ends, and removes its folder, when its stdin ends before "go":
// a launcher that dies leaves nothing. After "go" the box is on record, with a
// lock to know it by, so that any later command can find it and end it.

const goWord = "go\n"

// answer is the one line that the box's process writes to its stdout.
type answer struct {
	Ready bool   `json:"ready"`
	Error string `json:"error,omitempty"`
	// Isolation says that Error is about namespaces; a process box may do.
	Isolation bool `json:"isolation,omitempty"`
}

// launch starts the process of the box that r describes, whose folder is
// filled, and returns the record as it is then on disk. When it fails the
// process has ended.
func (p *Provider) launch(ctx context.Context, r record) (_ record, err error) {
	ctx, cancel := context.WithTimeout(ctx, launchLimit)
	defer cancel()
	id, dir := string(r.Box.ID), p.folder(string(r.Box.ID))
	log, err := os.OpenFile(filepath.Join(dir, fileLog), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return r, err
	}
	defer log.Close()

	word := wordServe
	if r.Life.Isolated {
		word = wordIsolate
	}
	c, err := p.start(word, r.Life, dir, log)
	if err != nil {
		return r, err
	}
	defer c.close()
	ended := make(chan struct{})
	go func() { // ends with the box, which clear waits for
		defer close(ended)
		_ = c.cmd.Wait()
	}()
	defer func() {
		if err != nil {
			_ = c.cmd.Process.Kill()
			<-ended
		}
	}()

	r.Pid = c.cmd.Process.Pid
	if err := r.write(dir); err != nil {
		return r, err
	}
	if _, err := io.WriteString(c.stdin, goWord); err != nil {
		return r, c.readFailure(ctx, dir)
	}
	if err := c.readReady(ctx, dir); err != nil {
		return r, err
	}
	r.Ready = true
	if err := r.write(dir); err != nil {
		return r, err
	}
	p.mu.Lock()
	p.children[id] = ended
	p.mu.Unlock()
	return r, nil
}

// child is a box's process as its launcher has it.
type child struct {
	cmd    *exec.Cmd
	stdin  *os.File
	stdout *os.File
}

func (c *child) close() { _, _ = c.stdin.Close(), c.stdout.Close() }

// start runs this executable as a box in the given role.
func (p *Provider) start(word string, l life, dir string, log *os.File) (*child, error) {
	theirIn, ourIn, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirIn.Close()
	ourOut, theirOut, err := os.Pipe()
	if err != nil {
		_ = ourIn.Close()
		return nil, err
	}
	defer theirOut.Close()

	cmd := exec.Command(p.executable, Word, word, dir)
	cmd.Dir = p.workingFolder()
	cmd.Env = append([]string{"PATH=" + standardPath}, p.person.runtime...) // nothing else of the operator's
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirIn, theirOut, log
	closeAfter, err := detach(cmd, word, l, dir)
	if err != nil {
		_, _ = ourIn.Close(), ourOut.Close()
		return nil, err
	}
	defer closeAfter()
	if err := cmd.Start(); err != nil {
		_, _ = ourIn.Close(), ourOut.Close()
		return nil, startFailure(word, err)
	}
	return &child{cmd: cmd, stdin: ourIn, stdout: ourOut}, nil
}

// workingFolder is a folder that a box may keep busy.
func (p *Provider) workingFolder() string {
	if p.dir == "" {
		return os.TempDir()
	}
	return filepath.VolumeName(p.dir) + string(filepath.Separator)
}

// readReady waits for the box's answer.
func (c *child) readReady(ctx context.Context, dir string) error {
	stop := context.AfterFunc(ctx, func() { _ = c.stdout.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(c.stdout, 64<<10)).ReadBytes('\n')
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var a answer
	if err != nil || json.Unmarshal(line, &a) != nil {
		return errors.New("its process ended without a word" + lastWords(dir))
	}
	switch {
	case a.Ready:
		return nil
	case a.Isolation:
		return cannotIsolate{a.Error}
	}
	return errors.New(a.Error)
}

// readFailure is why a process does not listen to us any more.
func (c *child) readFailure(ctx context.Context, dir string) error {
	if err := c.readReady(ctx, dir); err != nil {
		return err
	}
	return errors.New("its process ended as it started" + lastWords(dir))
}

// lastWords is the end of a box's log, for a message.
func lastWords(dir string) string {
	data, err := os.ReadFile(filepath.Join(dir, fileLog))
	if err != nil || len(data) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return fmt.Sprintf("; its log begins %.200q", lines[0])
}

// probe starts a process in namespaces that builds its view of the system and
// ends. A cannotIsolate says why there are none to be had.
func (p *Provider) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, launchLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "cbx")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{dirHome, dirTmp, dirVarTmp} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	l := life{Isolated: true, Network: networkOwn, Hostname: "probe"}
	p.person.inside(&l)
	if err := (record{Version: recordVersion, Box: box.Box{ID: box.ID(filepath.Base(dir))}, Life: l}).write(dir); err != nil {
		return err
	}
	devNull, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer devNull.Close()
	c, err := p.start(wordProbe, l, dir, devNull)
	if err != nil {
		return err
	}
	defer c.close()
	defer func() { _, _ = c.cmd.Process.Kill(), c.cmd.Wait() }()
	return c.readReady(ctx, dir)
}
