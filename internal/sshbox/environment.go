package sshbox

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// command describes how line is run: by the user's shell, which is a login
// shell when line is empty. The note, if any, is for the person.
func (s *session) command(line string) (cmd *exec.Cmd, note string) {
	server := s.conn.server
	shell := server.Shell
	if shell == "" {
		shell = defaultShell()
	}
	cmd = shellCommand(shell, line)
	cmd.Env = s.environment(shell)
	cmd.Dir = server.Home
	if info, err := os.Stat(server.Home); server.Home != "" && (err != nil || !info.IsDir()) {
		cmd.Dir = string(filepath.Separator)
		note = "the home folder " + server.Home + " is not there"
	}
	return cmd, note
}

// environment is what a command sees; later entries win.
func (s *session) environment(shell string) []string {
	server, user := s.conn.server, s.conn.login.User()
	if server.User != "" {
		user = server.User
	}
	home := server.Home
	if home == "" {
		home, _ = os.Getwd()
	}
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	env := []string{"HOME=" + home, "SHELL=" + shell, "PATH=" + path}
	if !strings.Contains(user, "\x00") { // the client chose it, perhaps
		env = append(env, "USER="+user, "LOGNAME="+user)
	}
	env = append(env, server.Env...)
	env = append(env, s.env...)
	client, clientPort := addressWords(s.conn.login.RemoteAddr())
	local, localPort := addressWords(s.conn.login.LocalAddr())
	env = append(env,
		"SSH_CLIENT="+client+" "+clientPort+" "+localPort,
		"SSH_CONNECTION="+client+" "+clientPort+" "+local+" "+localPort)
	if s.term != nil {
		env = append(env, "TERM="+s.term.kind, "SSH_TTY="+s.term.name)
	}
	return env
}

// addressWords are a's host and port as OpenSSH writes them, which knows no
// better for streams that are not TCP.
func addressWords(a net.Addr) (host, port string) {
	if tcp, ok := a.(*net.TCPAddr); ok {
		if host, port, err := net.SplitHostPort(tcp.String()); err == nil {
			return host, port
		}
	}
	return "UNKNOWN", "65535"
}
