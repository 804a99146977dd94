// Package sshboxtest runs our own SSH server for the tests of rooms that use
// one, on a loopback port, until the test ends.
package sshboxtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"

	"crabbox/internal/sshbox"
	"crabbox/internal/sshdtest"
)

// Start runs a server that lets one key in under any name; its commands live in
// home and find their tools in path. It returns the server's address and the
// file of the private key.
func Start(t testing.TB, home, path string) (addr, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hostKey, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	keyFile = filepath.Join(dir, "key")
	server := &sshbox.Server{
		HostKey: hostKey, Authorized: []ssh.PublicKey{sshdtest.WriteKey(t, keyFile, nil)},
		Home: home, Env: []string{"HOME=" + home, "PATH=" + path},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("sshbox: %v", err)
		}
	})
	return l.Addr().String(), keyFile
}
