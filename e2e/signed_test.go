package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/oaas-platform/oprc/internal/gitsource/gittest"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// pgpKey makes a key, and a file with its public part.
func pgpKey(t *testing.T) (key *openpgp.Entity, file string) {
	t.Helper()
	key, err := openpgp.NewEntity("Ann", "", "ann@example.org", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	var public bytes.Buffer
	w, err := armor.Encode(&public, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ann.asc")
	if err := errors.Join(key.Serialize(w), w.Close(), os.WriteFile(file, public.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return key, file
}

// commitSigned commits the worktree of a repository, signed, and returns the commit.
func commitSigned(t *testing.T, repo *gittest.Repo, key *openpgp.Entity) string {
	t.Helper()
	repo.Git("add", "-A")
	r, err := git.PlainOpen(repo.Dir)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := r.Worktree()
	if err != nil {
		t.Fatal(err)
	}
	id, err := tree.Commit("signed", &git.CommitOptions{
		SignKey: key, Author: &object.Signature{Name: "Ann", Email: "ann@example.org", When: time.Now()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

// What a PGP key signed goes out; what a stranger's signed, or nobody, is refused and
// said so, and the last good state stays.
func TestSignedByPGP(t *testing.T) {
	t.Parallel()
	ann, file := pgpKey(t)
	stranger, _ := pgpKey(t)
	repo := gittest.New(t)
	write := func(version string) {
		repo.Write("p.yaml", fmt.Sprintf("name: p\nversion: %s\nclasses: [{name: c}]\n", version))
	}
	write("1.0.0")
	first := commitSigned(t, repo, ann)
	store, forge := rdbtest.Start(t, ""), repo.Serve(t)
	d := serve(t, fmt.Sprintf("redis: {url: %q}\nsources: [{name: main, url: %q, interval: 1s, verify: {keys: [%q]}}]\n", store.URL(), forge.URL, file))
	d.ready("main", "True "+first)

	write("2.0.0")
	forged := commitSigned(t, repo, stranger)
	d.ready("main", "False VerificationFailed", forged[:12], "PGP signature that does not hold")
	write("3.0.0")
	d.ready("main", "False VerificationFailed", repo.Commit("by nobody")[:12], "is not signed")
	if s := d.source("main"); s.Applied != first {
		t.Errorf("applied %s, want %s still", s.Applied, first)
	}

	write("4.0.0")
	d.ready("main", "True "+commitSigned(t, repo, ann))
}
