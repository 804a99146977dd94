package sshbox

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// The numbers that RFC 4254 section 8 gives to terminal modes.
var (
	controlCharacters = map[byte]int{
		1: unix.VINTR, 2: unix.VQUIT, 3: unix.VERASE, 4: unix.VKILL, 5: unix.VEOF, 6: unix.VEOL, 7: unix.VEOL2,
		8: unix.VSTART, 9: unix.VSTOP, 10: unix.VSUSP, 12: unix.VREPRINT, 13: unix.VWERASE, 14: unix.VLNEXT,
		18: unix.VDISCARD,
	}
	inputModes = map[byte]uint32{
		30: unix.IGNPAR, 31: unix.PARMRK, 32: unix.INPCK, 33: unix.ISTRIP, 34: unix.INLCR, 35: unix.IGNCR,
		36: unix.ICRNL, 37: unix.IUCLC, 38: unix.IXON, 39: unix.IXANY, 40: unix.IXOFF, 41: unix.IMAXBEL, 42: unix.IUTF8,
	}
	localModes = map[byte]uint32{
		50: unix.ISIG, 51: unix.ICANON, 52: unix.XCASE, 53: unix.ECHO, 54: unix.ECHOE, 55: unix.ECHOK, 56: unix.ECHONL,
		57: unix.NOFLSH, 58: unix.TOSTOP, 59: unix.IEXTEN, 60: unix.ECHOCTL, 61: unix.ECHOKE, 62: unix.PENDIN,
	}
	outputModes = map[byte]uint32{
		70: unix.OPOST, 71: unix.OLCUC, 72: unix.ONLCR, 73: unix.OCRNL, 74: unix.ONOCR, 75: unix.ONLRET,
	}
)

// setModes applies the modes of a pty-req as far as they are known here; speeds
// and parity mean nothing to a pseudo-terminal. A terminal with default modes
// is better than none, so failures do not count.
func setModes(slave *os.File, modes string) {
	_ = control(slave, func(fd int) error {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		// Codes of 160 and above, and 0, end the list.
		for list := []byte(modes); len(list) >= 5 && list[0] != 0 && list[0] < 160; list = list[5:] {
			setMode(t, list[0], binary.BigEndian.Uint32(list[1:]))
		}
		return unix.IoctlSetTermios(fd, unix.TCSETS, t)
	})
}

func setMode(t *unix.Termios, code byte, value uint32) {
	if at, ok := controlCharacters[code]; ok {
		t.Cc[at] = byte(value) // 255 disables a character for SSH, 0 does for Linux
		if value == 255 {
			t.Cc[at] = 0
		}
		return
	}
	flip(&t.Iflag, inputModes[code], value)
	flip(&t.Lflag, localModes[code], value)
	flip(&t.Oflag, outputModes[code], value)
}

func flip(flags *uint32, bit, value uint32) {
	if value != 0 {
		*flags |= bit
	} else {
		*flags &^= bit
	}
}
