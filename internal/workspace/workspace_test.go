package workspace_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crabbox/internal/fault"
	"crabbox/internal/workspace"
)

func TestFirstAndSecondSync(t *testing.T) {
	onEachBox(t, func(t *testing.T, b box) {
		repo := newRepo(t, map[string]string{"a.txt": "one", "d/b.txt": "two", "d/e/c.txt": "three", "empty": "", "link": "-> d/b.txt"})
		if err := os.Chmod(filepath.Join(repo, "a.txt"), 0o755); err != nil {
			t.Fatal(err)
		}
		r := b.sync(t, repo)
		expect(t, r, 5, 0, 0)
		if r.Dir != "crabbox/proj" || r.Bytes != 11 {
			t.Errorf("folder %q, %d bytes", r.Dir, r.Bytes)
		}
		if r = b.sync(t, repo); r.Bytes != 0 {
			t.Errorf("%d bytes of an unchanged tree travelled", r.Bytes)
		}
		expect(t, r, 0, 0, 5)

		write(t, repo, "d/b.txt", "changed")
		if r = b.sync(t, repo); r.Bytes != 7 {
			t.Errorf("%d bytes travelled, want those of one file", r.Bytes)
		}
		expect(t, r, 1, 0, 4)
	})
}

func TestUntrackedGoesAndIgnoredStays(t *testing.T) {
	onEachBox(t, func(t *testing.T, b box) {
		repo := newRepo(t, map[string]string{".gitignore": "*.o\n/build/\n", "main.c": "int main;"})
		write(t, repo, "new.c", "untracked")
		write(t, repo, "main.o", "ignored")
		write(t, repo, "build/x", "ignored")
		expect(t, b.syncOnly(t, repo), 3, 0, 0)
		remove(t, repo, "main.o", "build")
		b.sync(t, repo)
	})
}

func TestStrangeNames(t *testing.T) {
	onEachBox(t, func(t *testing.T, b box) {
		files := map[string]string{}
		for _, name := range []string{
			"with space", "-dash", "--help", "new\nline", "tab\t", "back\\slash", "it's", `"quoted"`, "$HOME", "`id`", "*", "ünïcode/日本",
			"\xff\xfe latin", "\x1b[31mred", "trailing ", " leading", "#hash", "~", "a;b", "dir\nwith/file", "-d/-f", "CRABBOX", "cr\r",
			strings.Repeat("long", 50), strings.Repeat("deep/", 60) + "end",
		} {
			files[name] = "content of " + name
		}
		repo := newRepo(t, files)
		expect(t, b.sync(t, repo), len(files), 0, 0)

		r := b.sync(t, repo)
		// Names that the box's tools write their own way are sent each time.
		if r.Sent > 6 || r.Sent+r.Unchanged != len(files) {
			t.Errorf("sent %d of %d unchanged files", r.Sent, len(files))
		}
		for name := range files {
			remove(t, repo, name)
		}
		write(t, repo, "rest", "")
		if r = b.sync(t, repo); r.Deleted != len(files) {
			t.Errorf("deleted %d of %d", r.Deleted, len(files))
		}
	})
}

func TestDeletions(t *testing.T) {
	onEachBox(t, func(t *testing.T, b box) {
		repo := newRepo(t, map[string]string{"keep": "", "gone": "", "d/gone": "", "d/e/gone": "", "f/keep": "", "f/gone": ""})
		b.sync(t, repo)
		remove(t, repo, "gone", "d", "f/gone") // still tracked, no longer there
		r := b.sync(t, repo)
		expect(t, r, 0, 4, 2)
		if _, err := os.Stat(filepath.Join(b.path(r), "d")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("an empty folder stays behind: %v", err)
		}
		expect(t, b.sync(t, repo), 0, 0, 2)
	})
}

func TestFileBecomesFolderAndBack(t *testing.T) {
	onEachBox(t, func(t *testing.T, b box) {
		repo := newRepo(t, map[string]string{"file": "f", "folder/x": "x", "folder/y/z": "z", "link": "-> file", "other/w": "w"})
		b.sync(t, repo)
		remove(t, repo, "file", "folder", "link", "other")
		write(t, repo, "file/inside", "1")
		write(t, repo, "folder", "now a file")
		write(t, repo, "link/inside", "2")
		write(t, repo, "other", "-> folder")
		b.sync(t, repo)
		remove(t, repo, "file", "folder", "link", "other")
		write(t, repo, "file", "f")
		write(t, repo, "folder/x", "x")
		write(t, repo, "link", "-> file")
		write(t, repo, "other/w", "w")
		b.sync(t, repo)
	})
}

func TestModesAndLinksChange(t *testing.T) {
	onEachBox(t, func(t *testing.T, b box) {
		repo := newRepo(t, map[string]string{"run.sh": "#!/bin/sh\n", "link": "-> run.sh", "dangling": "-> nowhere/at all"})
		b.sync(t, repo)
		if err := os.Chmod(filepath.Join(repo, "run.sh"), 0o755); err != nil {
			t.Fatal(err)
		}
		remove(t, repo, "link")
		write(t, repo, "link", "-> dangling")
		expect(t, b.sync(t, repo), 2, 0, 1)
	})
}

// Where the disk knows no executable bit, git's index does.
func TestModesComeFromTheIndexWhereTheDiskHasNone(t *testing.T) {
	b := startBox(t, os.Getenv("PATH"))
	repo := newRepo(t, map[string]string{"run.sh": "#!/bin/sh\n", "plain": ""})
	gitIn(t, repo, "config", "core.fileMode", "false")
	gitIn(t, repo, "update-index", "--chmod=+x", "run.sh")
	if err := os.Chmod(filepath.Join(repo, "plain"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := b.syncOnly(t, repo)
	b.run(t, r, "test -x run.sh && test ! -x plain")
	expect(t, b.syncOnly(t, repo), 0, 0, 2)
}

// What happened to our files on the box is found out and made good.
func TestChangesOnTheBoxAreRepaired(t *testing.T) {
	onEachBox(t, func(t *testing.T, b box) {
		repo := newRepo(t, map[string]string{"a": "aaaa", "b": "bbbb", "c": "cccc", "d/x": "x", "d/y": "y", "e": "e", "l": "-> a", "same": "same"})
		r := b.sync(t, repo)
		for what, line := range map[string]string{
			"same size, same time": "touch -r a stamp; printf AAAA >a; touch -r stamp a; rm stamp",
			"removed":              "rm b",
			"runnable":             "chmod +x c",
			"now a folder":         "rm e; mkdir e; echo x >e/x",
			"other link":           "rm l; ln -s b l",
			"link for a folder":    "mkdir elsewhere; echo precious >elsewhere/x; rm -r d; ln -s elsewhere d",
			"link for a file":      "mv same kept; ln -s kept same",
		} {
			b.run(t, r, line)
			r = b.sync(t, repo, "elsewhere/x", "kept")
			if r.Sent == 0 || r.Unchanged == 0 {
				t.Errorf("%s: sent %d, unchanged %d", what, r.Sent, r.Unchanged)
			}
			if what == "link for a folder" {
				if got := b.run(t, r, "cat elsewhere/x"); got != "precious\n" {
					t.Errorf("a file behind a link was touched: %q", got)
				}
			}
		}
	})
}

func TestDeletingDoesNotFollowLinks(t *testing.T) {
	onEachBox(t, func(t *testing.T, b box) {
		repo := newRepo(t, map[string]string{"d/x": "x", "keep": ""})
		r := b.sync(t, repo)
		b.run(t, r, "mkdir mine; mv d/x mine/x; rmdir d; ln -s mine d")
		remove(t, repo, "d")
		b.sync(t, repo, "mine/x", "d")
		if got := b.run(t, r, "cat mine/x"); got != "x" {
			t.Errorf("a file behind a link is gone: %q", got)
		}
	})
}

func TestBuildOutputsStay(t *testing.T) {
	onEachBox(t, func(t *testing.T, b box) {
		repo := newRepo(t, map[string]string{"src/a.c": "a", "src/b.c": "b"})
		r := b.sync(t, repo)
		b.run(t, r, "echo o >src/a.o; mkdir out; echo bin >out/prog")
		remove(t, repo, "src/a.c")
		write(t, repo, "src/c.c", "c")
		b.sync(t, repo, "src/a.o", "out/prog")
		remove(t, repo, "src")
		write(t, repo, "top", "")
		b.sync(t, repo, "src/a.o", "out/prog")
		write(t, repo, "out", "in the way of what the build made")
		b.sync(t, repo, "src/a.o")
	})
}

// What arrives is newer than what the box built before, whatever the clocks say.
func TestChangedFilesAreNewOnTheBox(t *testing.T) {
	onEachBox(t, func(t *testing.T, b box) {
		repo := newRepo(t, map[string]string{"src": "1"})
		r := b.sync(t, repo)
		b.run(t, r, "touch product")
		write(t, repo, "src", "2")
		old := filepath.Join(repo, "src")
		info, err := os.Stat(old)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(old, info.ModTime().AddDate(-1, 0, 0), info.ModTime().AddDate(-1, 0, 0)); err != nil {
			t.Fatal(err)
		}
		b.sync(t, repo, "product")
		b.run(t, r, "test src -nt product")
	})
}

func TestSubmodulesAndNestedRepositories(t *testing.T) {
	onEachBox(t, func(t *testing.T, b box) {
		library := newRepo(t, map[string]string{"lib.c": "lib", ".gitignore": "*.o\n"})
		repo := newRepo(t, map[string]string{"main.c": "main"})
		gitIn(t, repo, "submodule", "--quiet", "add", library, "vendor/lib")
		gitIn(t, repo, "submodule", "--quiet", "add", library, "vendor/absent")
		gitIn(t, repo, "commit", "-q", "-m", "modules")
		gitIn(t, repo, "submodule", "--quiet", "deinit", "-f", "vendor/absent")
		write(t, repo, "vendor/lib/new.c", "untracked in the submodule")
		nested := filepath.Join(repo, "nested")
		if err := os.Mkdir(nested, 0o755); err != nil {
			t.Fatal(err)
		}
		gitIn(t, nested, "init", "-q")
		write(t, nested, "n.c", "nested")
		r := b.sync(t, repo)
		if r.Sent != 6 { // .gitmodules, main.c, lib.c, lib's .gitignore, new.c, n.c
			t.Errorf("sent %d files", r.Sent)
		}
	})
}

func TestFilesBelowALinkAreNotSent(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, "x", "not of this tree")
	repo := newRepo(t, map[string]string{"d/x": "tracked", "a": ""})
	remove(t, repo, "d")
	write(t, repo, "d", "-> "+outside)
	onEachBox(t, func(t *testing.T, b box) { expect(t, b.sync(t, repo), 2, 0, 0) })
}

func TestSubfolderSendsTheWholeTree(t *testing.T) {
	b := startBox(t, os.Getenv("PATH"))
	repo := newRepo(t, map[string]string{"a": "", "sub/deep/b": ""})
	if err := os.MkdirAll(filepath.Join(repo, "blank"), 0o755); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]string{
		"": "crabbox/proj", "sub": "crabbox/proj/sub", "sub/deep": "crabbox/proj/sub/deep", "blank": "crabbox/proj",
	} {
		r := b.syncOnly(t, filepath.Join(repo, folder))
		if r.Dir != "crabbox/proj" || r.Work != want || r.Sent+r.Unchanged != 2 {
			t.Errorf("%q: %+v, want work folder %q", folder, r, want)
		}
	}
}

func TestOutsideARepository(t *testing.T) {
	b := startBox(t, os.Getenv("PATH"))
	for _, folder := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing")} {
		_, err := workspace.Sync(t.Context(), b.client, folder, func(string) {})
		if !errors.Is(err, fault.Usage) || fault.RemedyOf(err) == "" {
			t.Errorf("%s: error %v, want wrong usage with a remedy", folder, err)
		}
	}
}

func TestEmptyRepository(t *testing.T) {
	onEachBox(t, func(t *testing.T, b box) {
		repo := filepath.Join(t.TempDir(), "proj")
		if err := os.Mkdir(repo, 0o755); err != nil {
			t.Fatal(err)
		}
		gitIn(t, repo, "init", "-q")
		expect(t, b.sync(t, repo), 0, 0, 0)
		write(t, repo, "first", "")
		expect(t, b.sync(t, repo), 1, 0, 0)
	})
}

func TestNoTarFallsBackToSFTP(t *testing.T) {
	// The forced command of this box looks the subsystem up in its path.
	b := opensshBox(t, toolbox(t, map[string]string{"tar": "", "internal-sftp": "/usr/lib/openssh/sftp-server"}))
	repo := newRepo(t, map[string]string{"a": "a", "d/run": "#!/bin/sh\n", "link": "-> a", "new\nline": "n", "empty": ""})
	if err := os.Chmod(filepath.Join(repo, "d/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	expect(t, b.sync(t, repo), 5, 0, 0)
	write(t, repo, "a", "changed")
	remove(t, repo, "link", "new\nline")
	write(t, repo, "link", "-> d/run")
	expect(t, b.sync(t, repo), 2, 1, 2)
}

func TestNeitherTarNorSFTP(t *testing.T) {
	b := opensshBox(t, toolbox(t, map[string]string{"tar": ""}))
	_, err := workspace.Sync(t.Context(), b.client, newRepo(t, map[string]string{"a": "a"}), func(string) {})
	if !errors.Is(err, fault.Unsupported) || !strings.Contains(fault.RemedyOf(err), "tar") {
		t.Errorf("error %v, remedy %q", err, fault.RemedyOf(err))
	}
}

// Without a way to prove anything, everything is sent again.
func TestBoxWithoutHashes(t *testing.T) {
	b := startBox(t, toolbox(t, map[string]string{"sha256sum": ""}))
	repo := newRepo(t, map[string]string{"a": "a", "b": "b", "link": "-> a"})
	expect(t, b.sync(t, repo), 3, 0, 0)
	remove(t, repo, "b")
	expect(t, b.sync(t, repo), 1, 1, 1)
}

func TestHomeThatCannotBeWritten(t *testing.T) {
	b := startBox(t, os.Getenv("PATH"))
	write(t, b.home, "crabbox", "a file where the folder has to be")
	_, err := workspace.Sync(t.Context(), b.client, newRepo(t, map[string]string{"a": "a"}), func(string) {})
	if !errors.Is(err, fault.Failed) || fault.RemedyOf(err) == "" {
		t.Errorf("error %v, want a failure with a remedy", err)
	}
}

func TestCancelled(t *testing.T) {
	b := startBox(t, os.Getenv("PATH"))
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	repo := newRepo(t, map[string]string{"big": strings.Repeat("x", 64<<20)})
	_, err := workspace.Sync(ctx, b.client, repo, func(string) { cancel(reason) }) // its first word: "sending 1 file"
	if !errors.Is(err, reason) {
		t.Errorf("error %v, want the context's cause", err)
	}
	b.sync(t, repo)
}
