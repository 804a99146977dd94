package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.log")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &logFile{path: path, most: 100}
	if err := f.open(); err != nil {
		t.Fatal(err)
	}
	line := bytes.Repeat([]byte("x"), 29)
	line = append(line, '\n')
	for i := range 100 {
		if n, err := f.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
		for _, name := range []string{path, path + ".1"} {
			info, err := os.Stat(name)
			if err != nil && (i > 2 || name == path) {
				t.Fatal(err)
			}
			if err == nil && info.Size() > 100 {
				t.Fatalf("after line %d %s has %d bytes", i, name, info.Size())
			}
		}
	}
	now, err := os.ReadFile(path)
	if err != nil || !bytes.HasSuffix(now, line) {
		t.Errorf("the last line is not in the log: %q %v", now, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.Write(line); err == nil {
		t.Error("written after Close")
	}
}

func TestLogThatCannotRotateGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.log")
	if err := os.MkdirAll(filepath.Join(path+".1", "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	f := &logFile{path: path, most: 10}
	if err := f.open(); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 5 {
		if _, err := f.Write([]byte("12345678\n")); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := os.ReadFile(path); err != nil || len(data) != 45 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}
