package loop_test

import (
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A source that the configuration does not name any more is not shown as followed.
func TestSourcesThatAreGoneAreDropped(t *testing.T) {
	d := newDaemon(t)
	if err := d.db.PutSource(t.Context(), oprc.SourceStatus{Name: "old", Revision: "abc"}, nil, 0); err != nil {
		t.Fatal(err)
	}
	d.repo.commit("a", deployed)
	d.start()
	d.tick()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		all, err := d.db.Sources(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, main := all["main"]; !main {
			t.Fatalf("the one that is followed is gone: %v", all)
		}
		if _, old := all["old"]; !old {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the one that nobody follows is still there")
		}
	}
}
