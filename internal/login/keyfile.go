package login

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/crypto/ssh"
)

// errNoFile says that an identity file does not exist.
var errNoFile = errors.New("there is no such file")

// keyFile is what an identity file holds, in one of three forms:
//
//	signer != nil             the private key, usable
//	locked                    the private key, encrypted; public is nil when only the passphrase can tell it
//	neither                   the public half of a key that an agent may hold
type keyFile struct {
	path   string
	public ssh.PublicKey
	signer ssh.Signer
	locked bool
	data   []byte            // of a locked file
	sum    [sha256.Size]byte // of data: what the key ring knows it by
}

// readKeyFile reads a private key (OpenSSH or PEM), or the public half: path
// itself or path.pub.
func readKeyFile(path string) (keyFile, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if public, err := readPublicKey(path + ".pub"); err == nil {
			return keyFile{path: path, public: public}, nil
		}
		return keyFile{}, errNoFile
	}
	if err != nil {
		return keyFile{}, plainPathError(err)
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err == nil {
		return keyFile{path: path, public: signer.PublicKey(), signer: signer}, nil
	}
	if missing, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
		f := keyFile{path: path, public: missing.PublicKey, locked: true, data: data, sum: sha256.Sum256(data)}
		if f.public == nil {
			f.public, _ = readPublicKey(path + ".pub")
		}
		return f, nil
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(data); err == nil {
		return keyFile{path: path, public: public}, nil
	}
	// Security keys and other kinds that only OpenSSH signs with: an agent may
	// hold them.
	if public, publicErr := readPublicKey(path + ".pub"); publicErr == nil {
		return keyFile{path: path, public: public}, nil
	}
	return keyFile{}, fmt.Errorf("not a private key that crabbox can use: %w", err)
}

// unlock decrypts a locked file.
func (f keyFile) unlock(passphrase []byte) (ssh.Signer, error) {
	return ssh.ParsePrivateKeyWithPassphrase(f.data, passphrase)
}

func readPublicKey(path string) (ssh.PublicKey, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoFile
	}
	if err != nil {
		return nil, plainPathError(err)
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(bytes.TrimSpace(data))
	return public, err
}

func readCertificate(path string) (*ssh.Certificate, error) {
	public, err := readPublicKey(path)
	if err != nil {
		return nil, err
	}
	cert, ok := public.(*ssh.Certificate)
	if !ok || cert.CertType != ssh.UserCert {
		return nil, errors.New("not a user certificate")
	}
	return cert, nil
}

// plainPathError drops the path, which the caller names itself.
func plainPathError(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
