package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"

	"crabbox/internal/box"
	"crabbox/internal/fault"
)

// Members' addresses come out of 127.0.64.0-127.0.127.255 without the last
// octets 0 and 255, which too many programs take for a network or a broadcast.
const (
	firstNet  = 64
	nets      = 64
	perNet    = 254
	addresses = nets * perNet
)

// addressBook is the file of all members' addresses. crew/addresses is also the
// lock that guards it; no crew can have that name for a file.
type addressBook struct {
	Members map[string]*memberAddress `json:"members"` // by "crew/slug"
}

type memberAddress struct {
	Address netip.Addr `json:"address,omitzero"`
	// Ports are those of 127.0.0.1 that stood in for the member's, by the
	// member's port.
	Ports map[string]uint16 `json:"fallback_ports,omitempty"`
}

const addressLock = "crew/addresses"

// Address is the member's own loopback address out of 127.0.64.0-127.0.127.255:
// by hash of crew and slug, moved on where another member has it, and the same
// ever after.
func (s *Store) Address(ctx context.Context, crew, slug string) (netip.Addr, error) {
	member := crew + "/" + slug
	if m := s.readAddresses().Members[member]; m != nil && m.Address.IsValid() {
		return m.Address, nil
	}
	var address netip.Addr
	err := s.changeAddresses(ctx, func(b *addressBook) error {
		m := b.member(member)
		if !m.Address.IsValid() {
			free, err := b.free(member)
			if err != nil {
				return err
			}
			m.Address = free
		}
		address = m.Address
		return nil
	})
	return address, err
}

// FallbackPort is the port of 127.0.0.1 that stood in for the member's port
// last time, 0 when there was none.
func (s *Store) FallbackPort(crew, slug string, port box.Port) uint16 {
	m := s.readAddresses().Members[crew+"/"+slug]
	if m == nil {
		return 0
	}
	return m.Ports[port.String()]
}

// SetFallbackPort remembers the port of 127.0.0.1 that stands in for the
// member's port.
func (s *Store) SetFallbackPort(ctx context.Context, crew, slug string, port box.Port, local uint16) error {
	if s.FallbackPort(crew, slug, port) == local {
		return nil
	}
	return s.changeAddresses(ctx, func(b *addressBook) error {
		m := b.member(crew + "/" + slug)
		if m.Ports == nil {
			m.Ports = map[string]uint16{}
		}
		m.Ports[port.String()] = local
		return nil
	})
}

// ForgetMember gives the member's address and fallback ports back.
func (s *Store) ForgetMember(ctx context.Context, crew, slug string) error {
	member := crew + "/" + slug
	if s.readAddresses().Members[member] == nil {
		return nil
	}
	return s.changeAddresses(ctx, func(b *addressBook) error {
		delete(b.Members, member)
		return nil
	})
}

// free is the first address from the member's hash onwards that nobody has.
func (b *addressBook) free(member string) (netip.Addr, error) {
	taken := map[netip.Addr]bool{}
	for _, m := range b.Members {
		taken[m.Address] = true
	}
	start := addressIndex(member)
	for i := range addresses {
		if a := nthAddress((start + i) % addresses); !taken[a] {
			return a, nil
		}
	}
	return netip.Addr{}, fault.New(fault.Conflict, "Release members that are not needed any more.", "all %d member addresses are taken", addresses)
}

func addressIndex(member string) int {
	sum := sha256.Sum256([]byte(member))
	return int(binary.BigEndian.Uint64(sum[:8]) % addresses)
}

func nthAddress(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 0, byte(firstNet + i/perNet), byte(1 + i%perNet)})
}

func (b *addressBook) member(name string) *memberAddress {
	m := b.Members[name]
	if m == nil {
		m = &memberAddress{}
		b.Members[name] = m
	}
	return m
}

func (s *Store) addressesPath() string { return s.Path("crew", "addresses.json") }

// readAddresses returns what is remembered; nothing when that cannot be read,
// since addresses come out of a hash and are nearly all the same again.
func (s *Store) readAddresses() addressBook {
	b, _ := readRecord(s.addressesPath(), "", decodeAddresses)
	return b
}

func decodeAddresses(_ string, data []byte) (addressBook, error) {
	var b addressBook
	if err := json.Unmarshal(data, &b); err != nil {
		return addressBook{}, err
	}
	for name, m := range b.Members {
		if m == nil {
			delete(b.Members, name)
		} else if m.Address.IsValid() && !inPool(m.Address) {
			m.Address = netip.Addr{} // never listen on what a damaged file says
		}
	}
	return b, nil
}

func inPool(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	o := a.As4()
	return o[0] == 127 && o[1] == 0 && o[2] >= firstNet && o[2] < firstNet+nets && o[3] >= 1 && o[3] <= perNet
}

// changeAddresses rewrites the file under its lock. A damaged file is set aside
// and begun anew; one that cannot be read now is left alone.
func (s *Store) changeAddresses(ctx context.Context, change func(*addressBook) error) error {
	unlock, err := s.Lock(ctx, addressLock)
	if err != nil {
		return err
	}
	defer unlock()
	path := s.addressesPath()
	b, err := readRecord(path, "", decodeAddresses)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
	case !brokenForGood(err):
		return fault.New(fault.Failed, homeRemedy, "members' addresses: %w", err)
	default:
		if err := rename(path, path+".broken"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return writeFault(path, err)
		}
	}
	if b.Members == nil {
		b.Members = map[string]*memberAddress{}
	}
	if err := change(&b); err != nil {
		return err
	}
	data, err := marshal(b)
	if err != nil {
		return err
	}
	return replaceFile(path, data)
}
