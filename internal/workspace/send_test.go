package workspace

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// meddler changes a file when the first bytes of the archive come out.
type meddler struct {
	bytes.Buffer
	meddle func()
}

func (m *meddler) Write(p []byte) (int, error) {
	if m.meddle != nil {
		m.meddle()
		m.meddle = nil
	}
	return m.Buffer.Write(p)
}

func TestFileThatChangesWhileItIsPacked(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	const size = 1 << 20
	for name, meddle := range map[string]func() error{
		"shrinks":   func() error { return os.Truncate(path, 100) },
		"grows":     func() error { return os.Truncate(path, 2*size) },
		"rewritten": func() error { return os.WriteFile(path, bytes.Repeat([]byte("b"), size), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("a"), size), 0o644); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			out := &meddler{meddle: func() {
				if err := meddle(); err != nil {
					t.Fatal(err)
				}
			}}
			a := archive{root: root, to: out, progress: func(string) {}}
			f := file{path: "f", mode: 0o644}
			if err := a.pack([]file{f, f}); err != nil {
				t.Fatal(err)
			}
			// The first time it changed, the second time it did not.
			if len(a.torn) != 1 {
				t.Errorf("%d files noted as torn, want 1", len(a.torn))
			}
			in := tar.NewReader(&out.Buffer)
			for range 2 {
				header, err := in.Next()
				if err != nil {
					t.Fatalf("the archive is broken: %v", err)
				}
				if n, err := io.Copy(io.Discard, in); err != nil || n != header.Size {
					t.Errorf("%d of %d bytes, %v", n, header.Size, err)
				}
			}
			if _, err := in.Next(); err != io.EOF {
				t.Errorf("the archive has no end: %v", err)
			}
		})
	}
}

func TestPlaceNames(t *testing.T) {
	for top, want := range map[string]string{
		"/src/proj": "proj", "/src/My Project": "My-Project", "/src/.config": "config", "/src/a'b;c": "a-b-c",
		"/src/日本": "tree", "/src/-x": "x", "/src/日本 v1.2_b": "v1.2_b", "/": "tree", "/src/" + strings.Repeat("n", 300): strings.Repeat("n", 64),
	} {
		if got := placeFor(filepath.FromSlash(top)); got.tree != "crabbox/"+want || got.list != "crabbox/."+want+".files" {
			t.Errorf("%q: %+v, want %q", top, got, want)
		}
	}
}

func TestInside(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "a/b": true, "..a": true, "-": true, "": false, ".": false, "..": false, "../a": false, "a/../../b": false,
		"/a": false, "a/": false, "a//b": false, "./a": false, ".git": false, "a/.GIT": false, "a\x00b": false,
	} {
		if got := inside(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// What a box says cannot name anything outside the tree, nor stop us.
func FuzzParseProbe(f *testing.F) {
	f.Add("tar\ntree\nv abc\nd ./d\n" + strings.Repeat("0f", 32) + "  ./d/a\nx ./d/a\nl ./l\n../a\no ./o\nw 610a62\ny 64\n")
	f.Add("d ./..\no /etc/passwd\nw 2e2e2f61\nl ./a")
	f.Fuzz(func(t *testing.T, said string) {
		box := parseProbe(strings.NewReader(said))
		for name := range box.files {
			if !inside(name) {
				t.Errorf("a file outside: %q", name)
			}
		}
		for name := range box.folders {
			if !inside(name) {
				t.Errorf("a folder outside: %q", name)
			}
		}
	})
}
