package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/mesh"
	"crabbox/internal/sshdtest"
)

// asMesh makes the test binary a mesh with one peer; its value is the forward's target.
const asMesh = "CRABBOX_BENCH_MESH"

func TestMain(m *testing.M) {
	if target := os.Getenv(asMesh); target != "" {
		if err := runMesh(target, os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runMesh is the process that is measured: it prints the forward's local address
// and ends with its standard input.
func runMesh(target, address, user, keyFile, hostKey string) error {
	pem, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return err
	}
	pinned, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := mesh.New(mesh.Options{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	peer := mesh.Peer{
		ID: "peer",
		Dial: func(ctx context.Context) (net.Conn, *ssh.ClientConfig, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, "tcp", address)
			return c, &ssh.ClientConfig{
				User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(pinned),
			}, err
		},
		Forwards: []mesh.Forward{{Target: target, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}},
	}
	if err := m.Apply([]mesh.Peer{peer}); err != nil {
		return err
	}
	go func() {
		for {
			changed := m.Changed()
			if f := m.Snapshot().Links[0].Forwards[0]; f.State == mesh.Usable {
				fmt.Println(f.Local)
				return
			}
			<-changed
		}
	}()
	m.Run(ctx)
	return nil
}

// forwarder is a process that forwards a local address through the sshd.
type forwarder struct {
	address string
	cmd     *exec.Cmd
}

// cpu is the processor time that the process has used so far, from
// /proc/PID/stat (fields 14 and 15, in ticks of 10 ms).
func (f *forwarder) cpu(b testing.TB) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", f.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+2:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func startMesh(b testing.TB, s *sshdtest.Server, target string) *forwarder {
	b.Helper()
	cmd := exec.Command("/proc/self/exe", s.Addr, s.User, s.UserKeyFile, string(ssh.MarshalAuthorizedKey(s.HostKey)))
	cmd.Env = append(os.Environ(), asMesh+"="+target)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return &forwarder{address: strings.TrimSpace(line), cmd: cmd}
}

// startSSH runs ssh -L; cipher "" leaves the choice to ssh.
func startSSH(b testing.TB, s *sshdtest.Server, target, cipher string) *forwarder {
	b.Helper()
	known := b.TempDir() + "/known_hosts"
	line := fmt.Sprintf("[%s]:%d %s", s.Host, s.Port, ssh.MarshalAuthorizedKey(s.HostKey))
	if err := os.WriteFile(known, []byte(line), 0o600); err != nil {
		b.Fatal(err)
	}
	for range 10 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		address := l.Addr().String()
		l.Close() // ssh wants a number; when somebody takes it meanwhile, the next turn takes another
		args := []string{"-F", "none", "-N", "-i", s.UserKeyFile, "-o", "UserKnownHostsFile=" + known, "-o", "BatchMode=yes",
			"-o", "ExitOnForwardFailure=yes", "-o", "IdentityAgent=none", "-p", strconv.Itoa(s.Port), "-L", address + ":" + target}
		if cipher != "" {
			args = append(args, "-c", cipher)
		}
		cmd := exec.Command("ssh", append(args, s.User+"@"+s.Host)...)
		cmd.Stderr = io.Discard
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		exited := make(chan struct{})
		go func() {
			cmd.Wait()
			close(exited)
		}()
		stop := func() {
			cmd.Process.Kill()
			<-exited
		}
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if c, err := net.Dial("tcp", address); err == nil {
				c.Close()
				b.Cleanup(stop)
				return &forwarder{address: address, cmd: cmd}
			}
			select {
			case <-exited:
				deadline = time.Time{}
			default:
			}
		}
		stop()
	}
	b.Fatal("ssh -L does not come up")
	return nil
}
