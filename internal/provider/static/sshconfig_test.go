package static

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"crabbox/internal/box"
	"crabbox/internal/provider"
)

// configs are ssh_config files and the hosts to ask for in each.
var configs = []struct {
	name, config string
	hosts        []string
}{
	{"empty", "", []string{"db1", "10.0.0.1", "::1"}},
	{"patterns", `
Host web*.example.com !web9.example.com
  User one
Host ???
  Port 2201
Host WEB1.example.com
  Port 2202
Host * !other
  HostName %h.internal
`, []string{"web1.example.com", "web9.example.com", "WEB1.example.com", "abc", "other"}},
	{"first value wins", `
User early
Host web
  User late
  Port 1
  Port 2
Host *
  Port 3
`, []string{"web", "api"}},
	{"lists add up", `
IdentityFile ~/.ssh/one
Host web
  IdentityFile ~/.ssh/two
  IdentityFile "~/.ssh/with blank"
  IdentityFile ~/.ssh/one
  CertificateFile ~/.ssh/two-cert.pub
Host *
  IdentityFile %d/.ssh/%h-%r-%n-%p
`, []string{"web", "api"}},
	{"forms of lines", "  # comment\n\tUser=bob\nPort = 2200\nHOSTNAME\tdb.internal # trailing\nUserKnownHostsFile ~/.ssh/a \"~/.ssh/b\" # c\n\r\nIdentitiesOnly Yes", []string{"web"}},
	{"proxy jump first", "Host web\n ProxyJump bob@gw:2200,gw2\n ProxyCommand nc %h %p\n", []string{"web"}},
	{"proxy command first", "Host web\n ProxyCommand nc -x 'a b' %h %p \"%%\"\n ProxyJump gw\n", []string{"web"}},
	{"proxy jump none", "Host gw\n ProxyJump none\nHost *\n ProxyJump gw\n", []string{"gw", "web"}},
	{"proxy command none", "Host gw\n ProxyCommand none\nHost *\n ProxyCommand nc %h %p\n", []string{"gw", "web"}},
	{"proxy jump none, then a command", "Host gw\n ProxyJump none\nHost *\n ProxyCommand nc %h %p\n", []string{"gw", "web"}},
	{"proxy command none, then a jump", "Host gw\n ProxyCommand none\nHost *\n ProxyJump x\n", []string{"gw", "web"}},
	{"host keys", "Host web\n HostKeyAlias Web-%h\n StrictHostKeyChecking yes\n UserKnownHostsFile /dev/null\n GlobalKnownHostsFile none\nHost api\n StrictHostKeyChecking accept-new\nHost db\n StrictHostKeyChecking no\n", []string{"web", "api", "db", "x"}},
	{"agents", "Host a\n IdentityAgent none\nHost b\n IdentityAgent ~/x/sock\nHost c\n IdentityAgent $CBX_SOCK\nHost d\n IdentityAgent SSH_AUTH_SOCK\n", []string{"a", "b", "c", "d", "e"}},
	{"match", `
Host alias
  HostName real
Match host real
  Port 2001
Match originalhost alias
  User viaalias
Match host "re*,!real"
  Port 2002
Match user viaalias host real
  IdentitiesOnly yes
Match !host real
  Port 2003
Match all
  CertificateFile ~/c
`, []string{"alias", "real", "red"}},
	{"include", `
Host web
  Include inc/*.conf
  Port 2001
Host *
  Include ~/.ssh/inc/other missing
`, []string{"web", "api", "inner"}},
}

var included = map[string]string{
	"inc/a.conf": "User included\nHost inner\n User inner\n",
	"inc/b.conf": "IdentityFile ~/.ssh/from-include\n",
	"inc/other":  "Host api\n Port 2002\n",
}

// TestOwnReaderAgreesWithOpenSSH makes the same endpoint out of the same file
// with OpenSSH's reading of it and with ours.
func TestOwnReaderAgreesWithOpenSSH(t *testing.T) {
	for _, c := range configs {
		t.Run(c.name, func(t *testing.T) {
			home := accountHome() // OpenSSH expands ~ to it
			file := filepath.Join(t.TempDir(), "config")
			theirs, ours := newStatic(t, "", nil), newStatic(t, "", nil)
			theirs.home, ours.home, ours.ssh = home, home, ""
			writeIncludes(t, &c.config)
			if err := os.WriteFile(file, []byte(c.config), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, host := range c.hosts {
				w := wish{Host: host, Config: file}
				want, err := theirs.settings(t.Context(), w)
				if err != nil {
					t.Fatalf("%s: %v", host, err)
				}
				got, err := ours.settings(t.Context(), w)
				if err != nil {
					t.Fatalf("%s: %v", host, err)
				}
				compareEndpoints(t, w, theirs, want, ours, got)
			}
		})
	}
}

// writeIncludes makes the included files and puts their folder into the config.
func writeIncludes(t *testing.T, config *string) {
	dir := t.TempDir()
	for name, text := range included {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	*config = strings.NewReplacer("Include inc", "Include "+dir+"/inc", "Include ~/.ssh/inc", "Include "+dir+"/inc").Replace(*config)

}

func compareEndpoints(t *testing.T, w wish, theirs *Static, want settings, ours *Static, got settings) {
	t.Helper()
	wantEnd, _, err := theirs.endpoint(w, want)
	if err != nil {
		t.Fatalf("%s: %v", w.Host, err)
	}
	gotEnd, _, err := ours.endpoint(w, got)
	if err != nil {
		t.Fatalf("%s: %v", w.Host, err)
	}
	if !reflect.DeepEqual(gotEnd, wantEnd) {
		t.Errorf("%s: own reader\n%+v\nOpenSSH\n%+v", w.Host, gotEnd, wantEnd)
	}
	for _, key := range []string{keyProxyJump, keyProxyCommand} {
		if got.get(key) != want.get(key) {
			t.Errorf("%s: %s is %q, OpenSSH says %q", w.Host, key, got.get(key), want.get(key))
		}
	}
}

func TestOwnReaderFindsThePersonsFiles(t *testing.T) {
	home := t.TempDir()
	p := staticAt(t, t.TempDir(), home, "", "Include more\nHost web\n User bob\n", nil)
	if err := os.WriteFile(filepath.Join(home, ".ssh", "more"), []byte("Host web\n Port 2200\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := create(t, p, request("web", provider.Options{"host": "web"}))
	if b.Endpoint.Addrs[0] != "web:2200" || b.Endpoint.User != "bob" {
		t.Errorf("endpoint: %+v", b.Endpoint)
	}
	if known := filepath.Join(home, ".ssh", "known_hosts"); !slices.Contains(b.Endpoint.HostKey.Files, known) {
		t.Errorf("%s is not in %v", known, b.Endpoint.HostKey.Files)
	}
}

// OpenSSH goes by the user database; a person who has moved HOME means HOME.
func TestOpenSSHReadsThePersonsHome(t *testing.T) {
	p := newStatic(t, "Host web\n HostName 10.1.1.1\n IdentityFile ~/.ssh/mine\n", nil)
	e := create(t, p, request("web", provider.Options{"host": "web"})).Endpoint
	if e.Addrs[0] != "10.1.1.1:22" {
		t.Errorf("address %v", e.Addrs)
	}
	for what, path := range map[string]string{"identity": e.Identity.Files[0], "known hosts": e.HostKey.Files[0]} {
		if !strings.HasPrefix(path, p.home) {
			t.Errorf("%s %s is not below %s", what, path, p.home)
		}
	}
}

func TestReaderNamesWhatIsWrong(t *testing.T) {
	home := t.TempDir()
	p := staticAt(t, t.TempDir(), home, "", "Host web\n User \"bob\n", nil)
	_, err := p.Create(t.Context(), request("web", provider.Options{"host": "web"}))
	wantKind(t, err, "wrong usage", "config line 2", "quote")
	if err := os.WriteFile(filepath.Join(home, ".ssh", "config"), []byte("Include config\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = p.Create(t.Context(), request("web", provider.Options{"host": "web"}))
	wantKind(t, err, "wrong usage", "too deep")
}

func TestJumpHosts(t *testing.T) {
	const config = `
Host web
  HostName 10.0.0.5
  ProxyJump bob@gw2:2200,gw3
Host gw2
  HostName gw2.example.com
  IdentityFile ~/.ssh/gw2
  ProxyJump gw1
Host gw3
  User carol
  ProxyJump gw1
Host cmd
  ProxyCommand connect %n %h %p %r %%
  HostName hidden
  User dave
`
	for _, ssh := range []string{sshPath(t), ""} {
		p := staticAt(t, t.TempDir(), t.TempDir(), ssh, config, nil)
		e := create(t, p, request("web", provider.Options{"host": "web"})).Endpoint
		var hops []string
		for _, hop := range e.Jump {
			hops = append(hops, hop.User+"@"+hop.Addrs[0])
		}
		me, _ := account()
		if want := []string{me + "@gw1:22", "bob@gw2.example.com:2200", "carol@gw3:22"}; !slices.Equal(hops, want) {
			t.Errorf("hops %v, want %v", hops, want)
		}
		if want := filepath.Join(p.home, ".ssh", "gw2"); e.Jump[1].Identity.Files[0] != want {
			t.Errorf("the second hop's key is %s, want %s", e.Jump[1].Identity.Files[0], want)
		}
		e = create(t, p, request("cmd", provider.Options{"host": "cmd"})).Endpoint
		if e.Dialer != box.DialCommand || e.Command != "connect cmd hidden 22 dave %" {
			t.Errorf("command %q, dialer %s", e.Command, e.Dialer)
		}
	}
}

func TestJumpHostsInACircle(t *testing.T) {
	for _, config := range []string{
		"Host a\n ProxyJump b\nHost b\n ProxyJump a\n",
		"Host a\n ProxyJump a\n",
	} {
		p := staticAt(t, t.TempDir(), t.TempDir(), "", config, nil)
		_, err := p.Create(t.Context(), request("web", provider.Options{"host": "a"}))
		wantKind(t, err, "wrong usage", "circle", "ProxyJump none")
	}
	var long strings.Builder
	for _, pair := range []string{"a b", "b c", "c d", "d e", "e f", "f g", "g h", "h i", "i j", "j k", "k l"} {
		from, to, _ := strings.Cut(pair, " ")
		long.WriteString("Host " + from + "\n ProxyJump " + to + "\n")
	}
	p := staticAt(t, t.TempDir(), t.TempDir(), "", long.String(), nil)
	_, err := p.Create(t.Context(), request("web", provider.Options{"host": "a"}))
	wantKind(t, err, "wrong usage", "more than 8 hosts")
}

func TestSettingsThatAreNotHonouredAreNamed(t *testing.T) {
	p := newStatic(t, "RevokedHostKeys /dev/null\n", nil)
	if b := create(t, p, request("web", provider.Options{"host": "web"})); !strings.Contains(b.Note, "revokedhostkeys") {
		t.Errorf("note %q", b.Note)
	}
}

func FuzzReader(f *testing.F) {
	for _, c := range configs {
		f.Add(c.config, "web")
	}
	f.Fuzz(func(t *testing.T, config, host string) {
		if strings.Contains(strings.ToLower(config), "include") {
			return // files of this machine are not for fuzzing
		}
		r := &reader{host: host, localUser: "me", home: "/home/me", getenv: func(string) string { return "" }, found: settings{}}
		if r.text("config", config, true, 0) != nil {
			return
		}
		for key, values := range r.found {
			if key != strings.ToLower(key) || len(values) == 0 {
				t.Errorf("%q: %q", key, values)
			}
		}
		p := &Static{home: "/home/me", getenv: r.getenv, log: slog.New(slog.DiscardHandler)}
		w := wish{Host: host}
		if w.check() != nil {
			return
		}
		for key, values := range defaults("me") {
			r.first(key, values...)
		}
		e, _, err := p.endpoint(w, r.found)
		if err == nil && strings.ContainsAny(e.Addrs[0]+e.User, "\n\x00'\"`;|&") {
			t.Errorf("a shell would see %q, %q", e.Addrs[0], e.User)
		}
	})
}
