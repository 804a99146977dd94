package mesh_test

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"crabbox/internal/mesh"
	"crabbox/internal/mesh/meshtest"
)

// callAs calls from another process of that user; 0 stays who we are.
func callAs(t *testing.T, uid uint32, address string) int {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), callEnv+"="+address)
	cmd.Dir = "/"
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

func TestOtherUsersAreTurnedAway(t *testing.T) {
	box := meshtest.New(t)
	box.Echo(8080)
	m := start(t, mesh.Options{})
	p := peer("web", box, target)
	apply(t, m, p)
	until(t, m, "usable", forwardsAre("web", mesh.Usable))
	address := localOf(m, "web")
	if code := callAs(t, 0, address); code != heard {
		t.Fatalf("our own call ended with %d", code)
	}
	if os.Getuid() != 0 {
		t.Skip("only root can call as somebody else; the rest of this test needs that")
	}
	const nobody = 65534
	if code := callAs(t, nobody, address); code != turnedOff {
		t.Errorf("a stranger's call ended with %d, want %d", code, turnedOff)
	}
	f := link(m.Snapshot(), "web").Forwards[0]
	if f.Strangers != 1 || f.Out != 5 {
		t.Errorf("%d strangers, %d bytes out; want 1, and 5 from our own call", f.Strangers, f.Out)
	}

	p.ShareLocal = true
	apply(t, m, p)
	if code := callAs(t, nobody, address); code != heard {
		t.Errorf("a call to a shared port ended with %d", code)
	}
	if heals := link(m.Snapshot(), "web").Heals; heals != 0 || box.Dials() != 1 {
		t.Errorf("sharing a port cost the connection: %d heals, %d dials", heals, box.Dials())
	}
}
