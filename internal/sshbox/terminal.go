package sshbox

// windowSize is the payload of window-change, and part of pty-req.
type windowSize struct {
	Columns, Rows, Width, Height uint32
}

// terminalRequest is the payload of pty-req (RFC 4254 section 6.2).
type terminalRequest struct {
	Kind                         string // TERM
	Columns, Rows, Width, Height uint32
	Modes                        string
}
