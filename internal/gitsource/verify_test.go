package gitsource_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// sshKey makes a key pair with ssh-keygen and returns the file of the private one,
// and the public one.
func sshKey(t *testing.T) (file string, public []byte) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ann@example.org", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	public, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return file, public
}

// pgpKey makes a PGP key and returns it with its armored public part.
func pgpKey(t *testing.T, config *packet.Config) (*openpgp.Entity, []byte) {
	t.Helper()
	e, err := openpgp.NewEntity("Ann", "", "ann@example.org", config)
	if err != nil {
		t.Fatal(err)
	}
	return e, armored(t, e)
}

func armored(t *testing.T, e *openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.Serialize(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// signPGP commits what is in the worktree, signed.
func (w work) signPGP(key *openpgp.Entity) string {
	w.t.Helper()
	w.Git("add", "-A")
	repo, err := git.PlainOpen(w.Dir)
	if err != nil {
		w.t.Fatal(err)
	}
	tree, err := repo.Worktree()
	if err != nil {
		w.t.Fatal(err)
	}
	id, err := tree.Commit("signed", &git.CommitOptions{
		SignKey: key, AllowEmptyCommits: true, Author: &object.Signature{Name: "Ann", Email: "ann@example.org", When: time.Now()},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return id.String()
}

func (w work) signSSH(key string) string {
	w.t.Helper()
	w.Git("add", "-A")
	w.Git("-c", "gpg.format=ssh", "-c", "user.signingKey="+key, "commit", "-q", "-S", "--allow-empty", "-m", "signed")
	return w.Git("rev-parse", "HEAD")
}

func TestVerify(t *testing.T) {
	key, public := sshKey(t)
	other, otherPublic := sshKey(t)
	pgp, pgpPublic := pgpKey(t, nil)
	pgpOther, _ := pgpKey(t, nil)
	old, oldPublic := pgpKey(t, &packet.Config{KeyLifetimeSecs: 4})
	revoked, _ := pgpKey(t, nil)
	all := [][]byte{public, pgpPublic}
	for name, tc := range map[string]struct {
		keys   [][]byte
		commit func(work)
		ref    string
		want   string // in the error; "": accepted
	}{
		"SSH":                        {all, func(w work) { w.signSSH(key) }, "", ""},
		"PGP":                        {all, func(w work) { w.signPGP(pgp) }, "", ""},
		"allowed signers":            {[][]byte{[]byte("# who may\nann@example.org namespaces=\"git\" " + string(public))}, func(w work) { w.signSSH(key) }, "", ""},
		"allowed signer, no options": {[][]byte{[]byte("ann@example.org " + string(public))}, func(w work) { w.signSSH(key) }, "", ""},
		"several keys in a file":     {[][]byte{append(otherPublic, public...)}, func(w work) { w.signSSH(key) }, "", ""},
		"several PGP keys in a file": {[][]byte{append(oldPublic, pgpPublic...)}, func(w work) { w.signPGP(pgp) }, "", ""},
		"not signed":                 {all, func(w work) { w.Commit("x") }, "", "is not signed"},
		"unknown SSH key":            {all, func(w work) { w.signSSH(other) }, "", "unknown key SHA256:"},
		"unknown PGP key":            {all, func(w work) { w.signPGP(pgpOther) }, "", "PGP signature that does not hold"},
		"PGP key that ran out":       {[][]byte{oldPublic}, func(w work) { w.signPGP(old); time.Sleep(time.Until(old.PrimaryKey.CreationTime.Add(5 * time.Second))) }, "", "expired"},
		"PGP key that is revoked": {nil, func(w work) {
			w.signPGP(revoked)
			if err := revoked.RevokeKey(packet.KeyCompromised, "", nil); err != nil {
				w.t.Fatal(err)
			}
		}, "", "revoked"},
		"only a commit below is signed": {all, func(w work) { w.signSSH(key); w.Commit("x") }, "", "is not signed"},
		"signed commit, plain tag": {all, func(w work) {
			w.signSSH(key)
			w.Git("tag", "-a", "-m", "one", "v1.0.0")
		}, "v1.0.0", ""},
		"plain commit, signed tag": {all, func(w work) {
			w.Commit("x")
			w.Git("-c", "gpg.format=ssh", "-c", "user.signingKey="+key, "tag", "-s", "-m", "one", "v1.0.0")
		}, "^1.0", ""},
		"plain commit, tag signed by another": {all, func(w work) {
			w.Commit("x")
			w.Git("-c", "gpg.format=ssh", "-c", "user.signingKey="+other, "tag", "-s", "-m", "one", "v1.0.0")
		}, "v1.0.0", "and commit"},
		"a commit with another's signature": {all, func(w work) {
			id := w.signSSH(key)
			w.rewrite(id, func(raw string) string { return strings.Replace(raw, "signed\n", "forged\n", 1) })
		}, "", "does not hold"},
		"a PGP commit that was changed": {all, func(w work) {
			id := w.signPGP(pgp)
			w.rewrite(id, func(raw string) string { return strings.Replace(raw, "author Ann", "author Bob", 1) })
		}, "", "does not hold"},
		"two signatures": {all, func(w work) {
			id := w.signSSH(key)
			w.rewrite(id, func(raw string) string {
				at := strings.Index(raw, "gpgsig ")
				end := strings.Index(raw, "\n\n") + 1
				return raw[:end] + raw[at:end] + raw[end:]
			})
		}, "", "is not signed"},
		"garbage for a signature": {all, func(w work) {
			id := w.signSSH(key)
			w.rewrite(id, func(raw string) string {
				return strings.Replace(raw, "gpgsig -----BEGIN SSH", "gpgsig -----BEGIN SSHH", 1)
			})
		}, "", "neither PGP's nor SSH's"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWork(t)
			w.Write("a.yaml", "name: a\n")
			tc.commit(w)
			if tc.keys == nil {
				tc.keys = [][]byte{armored(t, revoked)}
			}
			s := open(t, gitsource.Options{URL: w.Dir, Ref: tc.ref, Verify: tc.keys})
			rev, err := s.Poll(t.Context(), time.Now())
			if tc.want == "" {
				if err != nil || rev.ID != w.Git("rev-parse", "HEAD") {
					t.Errorf("got %q, %v", rev.ID, err)
				}
				return
			}
			if !errors.Is(err, oprc.ErrUnverified) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want one with %q", err, tc.want)
			}
			if again, err := s.Poll(t.Context(), time.Now()); err == nil {
				t.Errorf("the second time it is taken: %+v", again)
			}
		})
	}
}

// rewrite makes HEAD a changed copy of a commit.
func (w work) rewrite(id string, change func(raw string) string) {
	w.t.Helper()
	raw := w.Git("cat-file", "commit", id) + "\n"
	changed := change(raw)
	if changed == raw {
		w.t.Fatal("nothing was changed")
	}
	cmd := exec.Command("git", "hash-object", "-t", "commit", "-w", "--stdin", "--literally")
	cmd.Dir, cmd.Stdin = w.Dir, strings.NewReader(changed)
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatal(err)
	}
	w.Git("update-ref", "refs/heads/main", plumbing.NewHash(strings.TrimSpace(string(out))).String())
}

func TestVerifyKeepsTheLastGood(t *testing.T) {
	key, public := sshKey(t)
	w := newWork(t)
	w.Write("a.yaml", "name: a\n")
	good := w.signSSH(key)
	srv := w.Serve(t)
	s := open(t, gitsource.Options{URL: srv.URL, Verify: [][]byte{public}})
	if rev := poll(t, s); rev.ID != good {
		t.Fatalf("got %s", rev.ID)
	}
	w.commit("b.yaml", "name: b\n")
	if _, err := s.Poll(t.Context(), time.Now()); !errors.Is(err, oprc.ErrUnverified) {
		t.Fatalf("got %v", err)
	}
	srv.Since()
	if _, err := s.Poll(t.Context(), time.Now()); !errors.Is(err, oprc.ErrUnverified) {
		t.Fatalf("got %v", err)
	}
	if asked := srv.Since(); asked.Fetches != 0 {
		t.Errorf("what is refused was fetched again: %d times", asked.Fetches)
	}
	next := w.signSSH(key)
	if rev := poll(t, s); rev.ID != next || rev.Rewind {
		t.Errorf("got %+v, want %s", rev, next)
	}
}

func TestBadKeys(t *testing.T) {
	_, public := sshKey(t)
	for name, data := range map[string]string{
		"nothing":          "\n# only a comment\n",
		"no key":           "hello\n",
		"a cut PGP block":  "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxsBN\n-----END PGP PUBLIC KEY BLOCK-----\n",
		"a cut SSH key":    "ssh-ed25519 AAAA\n",
		"unheeded options": "ann@example.org valid-before=\"20300101\" " + string(public),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := gitsource.New(gitsource.Options{URL: t.TempDir(), Verify: [][]byte{[]byte(data)}})
			if !errors.Is(err, oprc.ErrInvalid) || !strings.Contains(err.Error(), "verify.keys[0]") {
				t.Errorf("got %v", err)
			}
		})
	}
}
