package crabbox

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport says which of our packages each room may import, tests left out. A
// room that is missing here may not exist.
var mayImport = map[string][]string{
	"bench":                          {},
	"cmd/crabbox":                    {"internal/cli", "internal/provider/all"},
	"internal/fault":                 {},
	"internal/box":                   {"internal/fault"},
	"internal/provider":              {"internal/box", "internal/fault"},
	"internal/provider/all":          {"internal/provider", "internal/provider/local", "internal/provider/static"},
	"internal/provider/local":        {"internal/provider", "internal/box", "internal/fault", "internal/sshbox"},
	"internal/provider/static":       {"internal/provider", "internal/box", "internal/fault"},
	"internal/provider/providertest": {"internal/provider", "internal/box", "internal/fault", "internal/sshbox"},
	"internal/sshbox":                {},
	"internal/sshbox/sshboxtest":     {"internal/sshbox", "internal/sshdtest"},
	"internal/sshdtest":              {},
	"internal/nstest":                {},
	"internal/netlab":                {"internal/nstest"},
	"internal/mesh":                  {}, // the engine knows nothing of ours
	"internal/mesh/meshtest":         {"internal/sshbox"},
	"internal/login":                 {"internal/box", "internal/fault"},
	"internal/session":               {"internal/fault"},
	"internal/workspace":             {"internal/fault", "internal/session"},
	"internal/store":                 {"internal/box", "internal/fault"},
	"internal/config":                {"internal/provider", "internal/fault"},
	"internal/crew":                  {"internal/box", "internal/fault", "internal/provider", "internal/store", "internal/login"},
	"internal/agent": {"internal/agent/api", "internal/agent/client", "internal/box", "internal/crew", "internal/fault", "internal/login",
		"internal/mesh", "internal/store"}, // the only room that knows both crew and mesh; client to see whether the holder of the lock answers
	"internal/agent/api":    {"internal/box", "internal/fault", "internal/mesh"}, // mesh for its state names only
	"internal/agent/client": {"internal/agent/api", "internal/fault"},
	"internal/doctor": {"internal/agent/api", "internal/agent/client", "internal/box", "internal/config", "internal/crew",
		"internal/fault", "internal/login", "internal/provider", "internal/store"},
	"internal/cli": {"internal/agent", "internal/agent/api", "internal/agent/client", "internal/box", "internal/config",
		"internal/crew", "internal/doctor", "internal/fault", "internal/login", "internal/provider", "internal/session",
		"internal/store", "internal/workspace"},
}

// Long files and functions, each with the reason why it is better so.
var (
	longFiles     = map[string]string{}
	longFunctions = map[string]string{}
)

const (
	mostLines         = 400
	mostFunctionLines = 60
)

// forbiddenNames say nothing about what a package is for.
var forbiddenNames = []string{"util", "utils", "common", "helpers", "shared", "core", "types", "misc", "base"}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	for dir, files := range packages(t) {
		allowed, known := mayImport[dir]
		if dir != "." && !known {
			t.Errorf("%s: not on the map; add it to doc.go and to mayImport", dir)
			continue
		}
		for name, file := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			for _, spec := range file.Imports {
				imported, _ := strconv.Unquote(spec.Path.Value)
				ours, isOurs := strings.CutPrefix(imported, "crabbox/")
				if isOurs && !slices.Contains(allowed, ours) {
					t.Errorf("%s imports %s, which its room may not", name, ours)
				}
			}
		}
	}
}

func TestRoomsThatAreOnTheMapExist(t *testing.T) {
	found := packages(t)
	for dir := range mayImport {
		if found[dir] == nil {
			t.Errorf("%s is on the map and does not exist", dir)
		}
	}
}

func TestEveryPackageHasOneComment(t *testing.T) {
	for dir, files := range packages(t) {
		comments := 0
		for name, file := range files {
			if file.Doc != nil && !strings.HasSuffix(name, "_test.go") {
				comments++
			}
		}
		if comments != 1 {
			t.Errorf("%s: %d package comments, want 1", dir, comments)
		}
		if slices.Contains(forbiddenNames, path.Base(dir)) {
			t.Errorf("%s: the name says nothing", dir)
		}
	}
}

func TestFilesAndFunctionsStayShort(t *testing.T) {
	for _, files := range packages(t) {
		for name, file := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			if n := lines(t, file.FileStart, file.FileEnd); n > mostLines && longFiles[name] == "" {
				t.Errorf("%s: %d lines, more than %d", name, n, mostLines)
			}
			for _, decl := range file.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if !ok {
					continue
				}
				key := name + " " + f.Name.Name
				if n := lines(t, f.Pos(), f.End()); n > mostFunctionLines && longFunctions[key] == "" {
					t.Errorf("%s: %d lines, more than %d", key, n, mostFunctionLines)
				}
			}
		}
	}
}

var fileSet = token.NewFileSet()

func lines(t *testing.T, from, to token.Pos) int {
	t.Helper()
	return fileSet.Position(to).Line - fileSet.Position(from).Line + 1
}

// packages parses every Go file of the repository, by folder and by path.
func packages(t *testing.T) map[string]map[string]*ast.File {
	t.Helper()
	found := map[string]map[string]*ast.File{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || isModule(name) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		file, err := parser.ParseFile(fileSet, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		if found[dir] == nil {
			found[dir] = map[string]*ast.File{}
		}
		found[dir][filepath.ToSlash(name)] = file
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// isModule tells whether a folder below the root is a module of its own.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return dir != "." && err == nil
}
