package gitsource_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
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
	if config == nil {
		config = new(packet.Config)
	}
	config.Algorithm = packet.PubKeyAlgoEdDSA // RSA keys take seconds
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
	pgpOther, pgpOtherPublic := pgpKey(t, nil)
	var late *openpgp.Entity // known once the commit is made
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
		"several PGP keys in a file": {[][]byte{append(pgpOtherPublic, pgpPublic...)}, func(w work) { w.signPGP(pgp) }, "", ""},
		"not signed":                 {all, func(w work) { w.Commit("x") }, "", "is not signed"},
		"unknown SSH key":            {all, func(w work) { w.signSSH(other) }, "", "unknown key SHA256:"},
		"unknown PGP key":            {all, func(w work) { w.signPGP(pgpOther) }, "", "PGP signature that does not hold"},
		"PGP key that ran out": {nil, func(w work) {
			late, _ = pgpKey(w.t, &packet.Config{KeyLifetimeSecs: 4})
			w.signPGP(late)
			time.Sleep(time.Until(late.PrimaryKey.CreationTime.Add(5 * time.Second)))
		}, "", "expired"},
		"PGP key that is revoked": {nil, func(w work) {
			late, _ = pgpKey(w.t, nil)
			w.signPGP(late)
			if err := late.RevokeKey(packet.KeyCompromised, "", nil); err != nil {
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
				tc.keys = [][]byte{armored(t, late)}
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
			_, err := new(gitsource.Hub).Open(gitsource.Options{URL: t.TempDir(), Verify: [][]byte{[]byte(data)}})
			if !errors.Is(err, oprc.ErrInvalid) || !strings.Contains(err.Error(), "verify.keys[0]") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A server that says that a signed tag leads to another commit is not believed.
func TestVerifyWhereTheServerLies(t *testing.T) {
	key, public := sshKey(t)
	w := newWork(t)
	w.Write("a.yaml", "name: a\n")
	good := w.Commit("good")
	w.Git("-c", "gpg.format=ssh", "-c", "user.signingKey="+key, "tag", "-s", "-m", "one", "v1.0.0")
	w.Write("a.yaml", "name: evil\n")
	evil := w.Commit("evil")
	origin, err := url.Parse(w.Serve(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	var lies atomic.Bool
	srv := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: origin.Scheme, Host: origin.Host}) },
		ModifyResponse: func(res *http.Response) error {
			body, err := io.ReadAll(res.Body)
			if lies.Load() {
				body = bytes.ReplaceAll(body, []byte(good+" refs/tags/v1.0.0^{}"), []byte(evil+" refs/tags/v1.0.0^{}"))
			}
			res.Body = io.NopCloser(bytes.NewReader(body))
			return err
		},
	})
	t.Cleanup(srv.Close)
	cache := t.TempDir()
	hub := new(gitsource.Hub)
	poll := func(ref string, keys ...[]byte) (gitsource.Revision, error) {
		t.Helper()
		s, err := hub.Open(gitsource.Options{URL: srv.URL + origin.Path, Ref: ref, Verify: keys, CacheDir: cache})
		if err != nil {
			t.Fatal(err)
		}
		return s.Poll(t.Context(), time.Now())
	}
	if rev, err := poll("v1.0.0", public); err != nil || rev.ID != good {
		t.Fatalf("the truth: %q, %v", rev.ID, err)
	}
	if rev, err := poll("main"); err != nil || rev.ID != evil { // so that the mirror holds it
		t.Fatalf("main: %q, %v", rev.ID, err)
	}
	lies.Store(true)
	if rev, err := poll("v1.0.0", public); !errors.Is(err, oprc.ErrUnverified) || !strings.Contains(err.Error(), "another commit") {
		t.Errorf("the lie: %q, %v", rev.ID, err)
	}
}
