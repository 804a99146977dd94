package mesh

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// callers asks the kernel who is at the other end of a local connection
// (sock_diag(7)). One socket serves all questions; the zero value is ready.
type callers struct {
	mu     sync.Mutex // one question at a time; guards the fields below
	opened bool
	fd     int // -1: the kernel does not let us ask
}

// diagTimeout bounds the wait for the kernel's answer, which comes at once.
const diagTimeout = time.Second

// Sizes and numbers of <linux/inet_diag.h>.
const (
	diagByFamily    = 20 // SOCK_DIAG_BY_FAMILY
	diagRequestSize = unix.SizeofNlMsghdr + 56
	diagUIDOffset   = unix.SizeofNlMsghdr + 64 // idiag_uid in struct inet_diag_msg
	diagInodeOffset = diagUIDOffset + 4
)

// stranger tells whether c was opened by another user of this machine. Root is
// none: it can do all that we can. A caller who has closed the connection
// already belongs to nobody any more, on kernels that forget the user then
// (before Linux 6.17); such a one is taken for a stranger, since it could be
// anybody. Where the kernel cannot be asked nobody is a stranger.
func (k *callers) stranger(c net.Conn) bool {
	remote, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return false
	}
	local, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return false
	}
	uid, inode, err := k.owner(remote.AddrPort(), local.AddrPort())
	switch {
	case errors.Is(err, unix.ENOENT):
		return true // closed and forgotten already
	case err != nil:
		return false
	case uid == 0:
		return inode == 0 && os.Getuid() != 0
	}
	return int(uid) != os.Getuid()
}

// owner returns the user id and the inode of the socket at local that is
// connected to remote; the inode is 0 when no process has the socket any more.
func (k *callers) owner(local, remote netip.AddrPort) (uid, inode uint32, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.opened {
		k.opened = true
		if k.fd, err = openDiag(); err != nil {
			k.fd = -1
		}
	}
	if k.fd < 0 {
		return 0, 0, errors.ErrUnsupported
	}
	if err := unix.Sendto(k.fd, diagRequest(local, remote), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, 0, err
	}
	var answer [4096]byte
	n, _, err := unix.Recvfrom(k.fd, answer[:], 0)
	if err != nil {
		k.closeLocked() // an answer that comes later must not meet the next question
		return 0, 0, err
	}
	order := binary.NativeEndian
	switch {
	case n >= unix.SizeofNlMsghdr+4 && order.Uint16(answer[4:]) == unix.NLMSG_ERROR:
		return 0, 0, unix.Errno(-int32(order.Uint32(answer[unix.SizeofNlMsghdr:])))
	case n < diagInodeOffset+4 || order.Uint16(answer[4:]) != diagByFamily:
		return 0, 0, errors.ErrUnsupported
	}
	return order.Uint32(answer[diagUIDOffset:]), order.Uint32(answer[diagInodeOffset:]), nil
}

func openDiag() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return -1, err
	}
	limit := unix.NsecToTimeval(int64(diagTimeout))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// diagRequest is a struct inet_diag_req_v2 that names exactly one connection.
func diagRequest(local, remote netip.AddrPort) []byte {
	family := byte(unix.AF_INET6)
	if local.Addr().Unmap().Is4() {
		family = unix.AF_INET
	}
	order := binary.NativeEndian
	m := make([]byte, 0, diagRequestSize)
	m = order.AppendUint32(m, diagRequestSize)
	m = order.AppendUint16(m, diagByFamily)
	m = order.AppendUint16(m, unix.NLM_F_REQUEST)
	m = order.AppendUint64(m, 0)                       // sequence, port id
	m = append(m, family, unix.IPPROTO_TCP, 0, 0)      // no extensions
	m = order.AppendUint32(m, ^uint32(0))              // in any state
	m = binary.BigEndian.AppendUint16(m, local.Port()) // the connection, as its owner sees it
	m = binary.BigEndian.AppendUint16(m, remote.Port())
	for _, a := range []netip.Addr{local.Addr().Unmap(), remote.Addr().Unmap()} {
		var address [16]byte
		copy(address[:], a.AsSlice())
		m = append(m, address[:]...)
	}
	m = order.AppendUint32(m, 0)             // on any interface
	return order.AppendUint64(m, ^uint64(0)) // INET_DIAG_NOCOOKIE
}

func (k *callers) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closeLocked()
}

func (k *callers) closeLocked() {
	if k.opened && k.fd >= 0 {
		unix.Close(k.fd)
	}
	k.opened, k.fd = false, -1
}
