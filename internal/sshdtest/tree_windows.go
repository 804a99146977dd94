package sshdtest

import "os"

// endTree ends the server; its sessions end with their connections.
func endTree(root int) {
	if p, err := os.FindProcess(root); err == nil {
		p.Kill()
	}
}
