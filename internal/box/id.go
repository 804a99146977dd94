package box

import (
	"crypto/rand"
	"encoding/hex"
	"regexp"

	"crabbox/internal/fault"
)

// ID names a lease for ever: "cbx_" and twelve hex digits.
type ID string

var idPattern = regexp.MustCompile(`^cbx_[0-9a-f]{12}$`)

// NewID draws a fresh lease id from the system's random source.
func NewID() ID { return ID("cbx_" + randomHex(6)) }

// ParseID accepts exactly the form that NewID makes.
func ParseID(s string) (ID, error) {
	if !idPattern.MatchString(s) {
		return "", fault.New(fault.Usage, "A lease id is cbx_ and twelve hex digits; crabbox list shows them.", "%q is not a lease id", s)
	}
	return ID(s), nil
}

// NewNonce draws the random word that proves a box is ours: one for each
// attempt to create it, kept in the box's labels and in our record.
func NewNonce() string { return randomHex(8) }

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b)
}
