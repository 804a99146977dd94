package session_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"crabbox/internal/session"
)

// FuzzQuote asks a real shell what words it sees.
func FuzzQuote(f *testing.F) {
	for _, words := range [][2]string{
		{"", ""}, {"it's", "''"}, {"a b", "$HOME `id` \\"}, {"-n", "A=b"}, {"new\nline", "\t\r"}, {"\xff\xfe", "日本"}, {"if", "!"}, {"*", "~"}, {"\\'", "'\\"},
	} {
		f.Add(words[0], words[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.ContainsRune(a+b, 0) {
			return // no argument can have one
		}
		out, err := exec.Command("/bin/sh", "-c", `printf '%s\0' `+session.Quote(a, b)).Output()
		if err != nil {
			t.Fatalf("%q, %q: %v", a, b, err)
		}
		if got := strings.Split(string(out), "\x00"); !slices.Equal(got, []string{a, b, ""}) {
			t.Errorf("the shell sees %q, want %q", got, []string{a, b})
		}
	})
}

func TestQuotedFirstWordIsACommand(t *testing.T) {
	for _, word := range []string{"if", "A=b", "!", "{"} {
		out, _ := exec.Command("/bin/sh", "-c", session.Quote(word)+" 2>/dev/null; echo $?").Output()
		if string(out) != "127\n" {
			t.Errorf("%q was not looked up as a command: %q", word, out)
		}
	}
}
