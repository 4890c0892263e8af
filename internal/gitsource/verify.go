package gitsource

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A keyring holds the keys that may sign what is read.
type keyring struct {
	pgp openpgp.EntityList
	ssh []ssh.PublicKey
}

// newKeyring reads keys: armored PGP public keys, or SSH public keys, one a line, as
// in id_ed25519.pub or in an allowed signers file of Git.
func newKeyring(files [][]byte) (keyring, error) {
	var k keyring
	for i, data := range files {
		var err error
		if bytes.Contains(data, []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----")) {
			err = k.addPGP(data)
		} else {
			err = k.addSSH(data)
		}
		if err != nil {
			return k, fmt.Errorf("%w verify.keys[%d]: %w", oprc.ErrInvalid, i, err)
		}
	}
	return k, nil
}

func (k *keyring) addPGP(data []byte) error {
	for rest := data; ; { // a file may hold several blocks
		at := bytes.Index(rest, []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----"))
		if at < 0 {
			return nil
		}
		rest = rest[at:]
		keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(rest))
		if err != nil {
			return err
		}
		k.pgp = append(k.pgp, keys...)
		rest = rest[1:]
	}
}

func (k *keyring) addSSH(data []byte) error {
	before := len(k.ssh)
	for n, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := sshKey(line)
		if err != nil {
			return fmt.Errorf("line %d: %w", n+1, err)
		}
		k.ssh = append(k.ssh, key)
	}
	if len(k.ssh) == before {
		return errors.New("there is no key in it")
	}
	return nil
}

// sshKey reads a line of a public key file, or of an allowed signers file:
// PRINCIPALS [namespaces="git"] TYPE KEY [COMMENT]. Options that would narrow a key
// further are refused rather than ignored.
func sshKey(line string) (ssh.PublicKey, error) {
	words := strings.Fields(line)
	for i, word := range words[:min(3, len(words))] {
		if !strings.HasPrefix(word, "ssh-") && !strings.HasPrefix(word, "ecdsa-") && !strings.HasPrefix(word, "sk-") || strings.Contains(word, "@") && i == 0 && !strings.HasPrefix(word, "sk-") {
			continue
		}
		if i == 2 && words[1] != `namespaces="git"` {
			return nil, fmt.Errorf("the option %s is not supported", words[1])
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(strings.Join(words[i:], " ")))
		return key, err
	}
	return nil, errors.New("it is neither an armored PGP public key nor an SSH public key")
}

// verify says whether one of the objects, a commit and the tag that leads to it, is
// signed by a known key. If not it is an [oprc.ErrUnverified] that says why.
func (k keyring) verify(repo interface {
	EncodedObject(kind plumbing.ObjectType, id plumbing.Hash) (plumbing.EncodedObject, error)
}, t tip, what string,
) error {
	var why []string
	for _, id := range slices.Compact([]plumbing.Hash{t.object, t.commit}) {
		o, err := repo.EncodedObject(plumbing.AnyObject, id)
		if err != nil {
			return fmt.Errorf("read %s to verify it: %w", id, err)
		}
		r, err := o.Reader()
		if err != nil {
			return fmt.Errorf("read %s to verify it: %w", id, err)
		}
		raw, err := io.ReadAll(io.LimitReader(r, oprc.MaxFileSize))
		if err := errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("read %s to verify it: %w", id, err)
		}
		signed, signature := splitCommit(raw)
		tag := o.Type() == plumbing.TagObject
		if tag {
			signed, signature = splitTag(raw)
		}
		err = k.check(signed, signature)
		if tag && err == nil && !bytes.HasPrefix(signed, []byte("object "+t.commit.String()+"\n")) {
			err = errors.New("is about another commit, whatever the server says") // the listing is not signed
		}
		if err == nil {
			return nil
		}
		why = append(why, fmt.Sprintf("%s %s %s", o.Type(), short(id.String()), err))
	}
	return fmt.Errorf("%s: %w: %s; sign it with a key that verify.keys lists, or list the key", what, oprc.ErrUnverified, strings.Join(why, ", and "))
}

// check reports how a signature falls short.
func (k keyring) check(signed, signature []byte) error {
	switch {
	case len(signature) == 0:
		return errors.New("is not signed")
	case bytes.HasPrefix(signature, []byte("-----BEGIN PGP SIGNATURE-----")):
		return k.checkPGP(signed, signature)
	case bytes.HasPrefix(signature, []byte("-----BEGIN SSH SIGNATURE-----")):
		return k.checkSSH(signed, signature)
	}
	return errors.New("has a signature that is neither PGP's nor SSH's")
}

func (k keyring) checkPGP(signed, signature []byte) error {
	_, err := openpgp.CheckArmoredDetachedSignature(k.pgp, bytes.NewReader(signed), bytes.NewReader(signature), nil)
	if err != nil {
		return fmt.Errorf("has a PGP signature that does not hold: %w", err)
	}
	return nil
}

func (k keyring) checkSSH(signed, armored []byte) error {
	sig, err := sshsig.Unarmor(armored)
	if err != nil {
		return fmt.Errorf("has an SSH signature that cannot be read: %w", err)
	}
	fingerprint := ssh.FingerprintSHA256(sig.PublicKey)
	known := slices.ContainsFunc(k.ssh, func(key ssh.PublicKey) bool { return bytes.Equal(key.Marshal(), sig.PublicKey.Marshal()) })
	if !known {
		return fmt.Errorf("is signed by the unknown key %s", fingerprint)
	}
	if err := sshsig.Verify(bytes.NewReader(signed), sig, sig.PublicKey, sig.HashAlgorithm, "git"); err != nil {
		return fmt.Errorf("has a signature by %s that does not hold: %w", fingerprint, err)
	}
	return nil
}

// splitCommit takes the signature out of a commit as Git wrote it: what remains, byte
// by byte, is what was signed. Of two signatures none counts.
func splitCommit(raw []byte) (signed, signature []byte) {
	head, body, _ := bytes.Cut(raw, []byte("\n\n"))
	var rest, sig bytes.Buffer
	signatures, inside := 0, false
	lines := bufio.NewScanner(bytes.NewReader(head))
	lines.Buffer(nil, oprc.MaxFileSize)
	for lines.Scan() {
		line := lines.Bytes()
		if value, ok := bytes.CutPrefix(line, []byte("gpgsig ")); ok {
			signatures, inside = signatures+1, true
			sig.Write(append(bytes.Clone(value), '\n'))
			continue
		}
		if more, ok := bytes.CutPrefix(line, []byte(" ")); ok && inside {
			sig.Write(append(bytes.Clone(more), '\n'))
			continue
		}
		inside = false
		rest.Write(append(bytes.Clone(line), '\n'))
	}
	if signatures != 1 {
		return raw, nil
	}
	rest.WriteByte('\n')
	rest.Write(body)
	return rest.Bytes(), sig.Bytes()
}

// splitTag takes the signature off the end of a tag, where Git puts it.
func splitTag(raw []byte) (signed, signature []byte) {
	at := -1
	for _, begin := range []string{"\n-----BEGIN PGP SIGNATURE-----", "\n-----BEGIN SSH SIGNATURE-----"} {
		at = max(at, bytes.LastIndex(raw, []byte(begin)))
	}
	if at < 0 {
		return raw, nil
	}
	return raw[:at+1], raw[at+1:]
}
