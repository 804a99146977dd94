package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/term"

	"crabbox/internal/fault"
)

// printer writes all that a person or a script sees. Its methods may be called
// from several goroutines; mu makes each of them one piece of output.
type printer struct {
	mu       sync.Mutex
	talks    int   // writes to err; guarded by mu
	lost     error // the first failure of writing to out; guarded by mu
	out, err io.Writer
	json     bool
	outTTY   bool // stdout is a terminal
	errTTY   bool // stderr is a terminal
	color    bool // stdout takes colours
}

func newPrinter(streams IO, asJSON bool) *printer {
	p := &printer{out: streams.Out, err: streams.Err, json: asJSON, outTTY: isTerminal(streams.Out), errTTY: isTerminal(streams.Err)}
	plain := streams.Getenv("NO_COLOR") != "" || streams.Getenv("TERM") == "dumb"
	p.color = p.outTTY && !plain
	return p
}

// isTerminal tells whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// clean makes a foreign string harmless for a terminal: control characters and
// those that reorder or hide text are dropped, line ends become spaces.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.In(r, unicode.Cf), r == '\u2028', r == '\u2029':
			return -1
		}
		return r
	}, s)
}

// cleaned formats after cleaning every argument that is or becomes text, so
// that only the format itself can end a line.
func cleaned(format string, args ...any) string {
	safe := make([]any, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case string:
			safe[i] = clean(v)
		case error:
			safe[i] = clean(v.Error())
		case fmt.Stringer:
			safe[i] = clean(v.String())
		default:
			safe[i] = arg
		}
	}
	return fmt.Sprintf(format, safe...)
}

// line prints one line of data.
func (p *printer) line(format string, args ...any) error {
	return p.write(p.out, cleaned(format, args...)+"\n")
}

// raw prints text that is data as it stands, such as a shell script of ours.
func (p *printer) raw(text string) error { return p.write(p.out, text) }

// document prints v as indented JSON.
func (p *printer) document(v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return p.write(p.out, string(data)+"\n")
}

// event prints v as one line of JSON.
func (p *printer) event(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return p.write(p.out, string(data)+"\n")
}

// say tells the person something worth knowing that is no data.
func (p *printer) say(format string, args ...any) { p.talk("note", "", cleaned(format, args...)) }

// warn tells the person about trouble that does not stop the work.
func (p *printer) warn(format string, args ...any) {
	p.talk("warning", "warning: ", cleaned(format, args...))
}

// advise tells what to do about the trouble that was just told.
func (p *printer) advise(remedy string) {
	switch {
	case remedy == "":
	case p.json:
		p.say("%s", remedy)
	default:
		p.write(p.err, clean(remedy)+"\n")
	}
}

// progress tells what is going on, to people at a terminal only.
func (p *printer) progress(text string) {
	if p.errTTY && !p.json {
		p.write(p.err, "  "+clean(text)+"\n")
	}
}

func (p *printer) talk(key, prefix, text string) {
	if p.json {
		data, _ := json.Marshal(map[string]string{key: text})
		p.write(p.err, string(data)+"\n")
		return
	}
	p.write(p.err, "crabbox: "+prefix+text+"\n")
}

// failure reports why the program fails: what went wrong on the first line,
// what to do on the second.
func (p *printer) failure(err error) {
	if err == nil {
		return
	}
	if _, ok := errors.AsType[commandEnded](err); ok {
		return
	}
	what, kind, remedy := err.Error(), string(fault.KindOf(err)), fault.RemedyOf(err)
	if _, ok := errors.AsType[interrupted](err); ok {
		kind = "interrupted"
		if remedy == "" && errors.Is(err, context.Canceled) {
			what = kind // nothing is left to be done about it
		}
	}
	if p.json {
		data, _ := json.Marshal(struct {
			Error    string `json:"error"`
			Kind     string `json:"kind"`
			Remedy   string `json:"remedy,omitempty"`
			ExitCode int    `json:"exit_code"`
		}{what, kind, remedy, exitCode(err)})
		p.write(p.err, string(data)+"\n")
		return
	}
	text := "crabbox: " + clean(what) + "\n"
	if remedy != "" {
		text += clean(remedy) + "\n"
	}
	p.write(p.err, text)
}

// write's error means that nobody reads any more. It matters to commands that
// would go on printing, and to nobody else.
func (p *printer) write(w io.Writer, text string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w == p.err {
		p.talks++
	}
	_, err := io.WriteString(w, text)
	if err != nil {
		err = fault.New(fault.Failed, "", "the output could not be written: %w", err)
	}
	if w == p.out && p.lost == nil {
		p.lost = err
	}
	return err
}

// complete tells whether all that was meant for stdout got there.
func (p *printer) complete() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// talked counts what was written to stderr, for a view that must know whether
// the screen has moved under it.
func (p *printer) talked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.talks
}
