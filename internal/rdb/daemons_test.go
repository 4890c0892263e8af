package rdb_test

import (
	"errors"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// A daemon that runs has its topic prefix again after Redis lost everything, and that of a
// ledger which is gone becomes the next one's.
func TestTopicPrefixIsKept(t *testing.T) {
	m := miniredis.RunT(t)
	as := func(name string) *rdb.DB {
		db, err := rdb.Open(t.Context(), rdb.Options{URL: "redis://" + m.Addr(), Keys: rdb.Keys{N: name, T: "oaas.pm"}, Group: "g"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	refused := func(db *rdb.DB, other string) {
		t.Helper()
		if err := db.Claim(t.Context()); !errors.Is(err, oprc.ErrInvalid) {
			t.Errorf("got %v, want that %s has the topic prefix", err, other)
		}
	}
	blue, green := as("blue"), as("green")
	written := func(name string) { m.Set(name+":{catalog}:version", "1") }
	if err := blue.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	written("blue")
	refused(green, "blue")

	m.FlushAll()
	if _, err := blue.Register(t.Context(), "a", "1"); err != nil {
		t.Fatal(err)
	}
	written("blue")
	refused(green, "blue")

	m.Del("blue:{catalog}:version")
	if err := green.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	written("green")
	refused(blue, "green")
}
