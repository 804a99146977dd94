package sshbox

import (
	"errors"
	"io"

	"github.com/pkg/sftp"
)

// sftp serves the sftp subsystem in this process. Relative paths start in the
// home folder; nothing is out of bounds that the process itself may reach.
func (s *session) sftp() {
	var options []sftp.ServerOption
	if home := s.conn.server.Home; home != "" {
		options = append(options, sftp.WithServerWorkingDirectory(home))
	}
	server, err := sftp.NewServer(s.channel, options...)
	if err == nil {
		err = server.Serve()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		s.conn.server.log().Info("sftp ended", "error", err)
		s.end(exit{code: 1})
		return
	}
	s.end(exit{})
}
