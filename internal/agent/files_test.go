//go:build unix

package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"crabbox/internal/agent/api"
	"crabbox/internal/fault"
	"crabbox/internal/mesh"
)

// The files of a real crew, one port of which is taken, and what a shell and a
// script make of them.
func TestFiles(t *testing.T) {
	w := newWorld(t)
	w.box(w.crew, "web-1", "8080", "8081").says(8080, "web").says(8081, "two")
	w.box(w.crew, "db", "5432").says(5432, "db")
	address := map[string]string{}
	for _, slug := range []string{"web-1", "db"} {
		a, err := w.store.Address(ctxOf(t), w.crew, slug)
		if err != nil {
			t.Fatal(err)
		}
		address[slug] = a.String()
	}
	for _, taken := range []string{address["web-1"] + ":8081", address["db"] + ":5432"} {
		l, err := net.Listen("tcp", taken)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	c := w.connect()
	if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{}); err != nil {
		t.Fatal(err)
	}
	crew := w.usable(c, w.crew)
	db, web := crew.Members[0], crew.Members[1]

	fill := strings.NewReplacer("CREW", w.crew, "WEB", address["web-1"], "DB", address["db"],
		"SECOND", web.Forwards[1].Local, "PG", db.Forwards[0].Local)
	wantHosts := fill.Replace(`# crew CREW
# db.cbx:5432 does not work, since DB:5432 could not be had; it is at PG
127.0.0.1  db.cbx db.CREW.cbx
# web-1.cbx:8081 does not work, since WEB:8081 could not be had; it is at SECOND
WEB  web-1.cbx web-1.CREW.cbx
`)
	if got := w.file("hosts"); got != wantHosts {
		t.Errorf("hosts:\n%s\nwant:\n%s", got, wantHosts)
	}
	wantEnv := "export CRABBOX_CREW='" + w.crew + "'\n" +
		"export CRABBOX_CREW_DB_5432='" + db.Forwards[0].Local + "'\n" +
		"export CRABBOX_CREW_WEB_1_8080='" + address["web-1"] + ":8080'\n" +
		"export CRABBOX_CREW_WEB_1_8081='" + web.Forwards[1].Local + "'\n"
	if got := w.file("env"); got != wantEnv {
		t.Errorf("env:\n%s\nwant:\n%s", got, wantEnv)
	}
	eventually(t, "forwards.json of today", func() error {
		var kept api.Crew
		if err := json.Unmarshal([]byte(w.file("forwards.json")), &kept); err != nil {
			return err
		}
		if kept.Name != w.crew || !kept.Usable() || len(kept.Members) != 2 {
			return fmt.Errorf("%+v", kept)
		}
		return nil
	})
}

// OpenSSH itself logs in with the crew's ssh_config, also where the home's path
// has characters that shells and ssh_config treat in their own ways.
func TestOpenSSHUsesTheConfig(t *testing.T) {
	for _, prefix := range []string{"cbx", "c 'b%d#;"} {
		w := newWorldIn(t, prefix)
		p := w.box(w.crew, "web", "8080")
		if err := w.store.Pin(string(p.lease.Box.ID), p.key.PublicKey()); err != nil { // as warmup does
			t.Fatal(err)
		}
		c := w.connect()
		if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(ctxOf(t), 20*time.Second)
		defer cancel()
		config := w.store.Path("crew", w.crew, "ssh_config")
		for _, host := range []string{"web.cbx", "web." + w.crew + ".cbx"} {
			cmd := exec.CommandContext(ctx, "ssh", "-F", config, "-o", "BatchMode=yes", host, "echo here; exit 7")
			cmd.WaitDelay = time.Second
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != 7 || !strings.Contains(string(out), "here\n") {
				t.Errorf("home %q: ssh %s: %v\n%s\n%s", prefix, host, err, out, w.file("ssh_config"))
			}
		}
	}
}

func TestFilesThatCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	w.box(w.crew, "web", "8080").says(8080, "web")
	c := w.connect()
	// A folder where a file shall be: no writer can replace it.
	for _, path := range []string{w.store.Path("crew", w.crew, "env", "x"), w.store.Path("wanted", w.crew+".json", "x")} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	crew, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(crew.Problems) != 2 {
		t.Errorf("problems: %q; want one of the files, one of the wish", crew.Problems)
	}
	mustSay(t, w.usable(c, w.crew).Members[0].Forwards[0].Local, "web")
	for _, path := range []string{w.store.Path("crew", w.crew, "env"), w.store.Path("wanted", w.crew+".json")} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the files, once they can be written", func() error {
		crew, err := c.Crew(ctxOf(t), w.crew)
		if err == nil && len(crew.Problems) > 0 {
			err = fmt.Errorf("%q", crew.Problems)
		}
		return err
	})
	if wanted, _, err := w.store.Wanted(); err != nil || len(wanted) != 1 {
		t.Errorf("wanted: %v %v", wanted, err)
	}
}

// A box whose only key is encrypted is refused until the key is unlocked.
func TestUnlock(t *testing.T) {
	w := newWorld(t)
	file := w.store.Path("locked")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "sesame", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := w.makeBox(w.crew, "web", "8080").says(8080, "web")
	p.stop()
	p.serve(authorized(t, file+".pub"))
	p.lease.Box.Endpoint.Identity.LeaseKey = false
	p.lease.Box.Endpoint.Identity.Files = []string{file}
	p.save()
	c := w.connect()
	if _, err := c.ConnectCrew(ctxOf(t), w.crew, api.ConnectRequest{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link refused", func() error {
		crew, err := c.Crew(ctxOf(t), w.crew)
		if err == nil && crew.Members[0].State != mesh.Refused {
			err = fmt.Errorf("%s: %s", crew.Members[0].State, crew.Members[0].Reason)
		}
		return err
	})
	if err := c.Unlock(ctxOf(t), api.UnlockRequest{File: file, Passphrase: []byte("wrong")}); fault.KindOf(err) == "" || fault.KindOf(err) == fault.NotFound {
		t.Errorf("wrong passphrase: %v", err)
	}
	if err := c.Unlock(ctxOf(t), api.UnlockRequest{File: " "}); fault.KindOf(err) != fault.Usage {
		t.Errorf("no file: %v", err)
	}
	if err := c.Unlock(ctxOf(t), api.UnlockRequest{File: file, Passphrase: []byte("sesame")}); err != nil {
		t.Fatal(err)
	}
	mustSay(t, w.usable(c, w.crew).Members[0].Forwards[0].Local, "web")
	log, err := os.ReadFile(w.store.Path("agent.log"))
	if err != nil || len(log) == 0 || strings.Contains(string(log), "sesame") {
		t.Errorf("the log, %v:\n%s", err, log)
	}
}
