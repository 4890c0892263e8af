package loop_test

import (
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Who asks a source to adopt what its files do not hold hears so at once, also while the
// source has other troubles. The source itself is as it was, and the request is over.
func TestAdoptWhatTheFilesDoNotHold(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("a", "one 1", "mine 1")
	if err := d.apply(d.plan(plan.Scope{}, "name: mine\n", "name: elsewhere\n")); err != nil {
		t.Fatal(err)
	}
	d.start()
	if s := d.tick(); s.Receipt.Result != oprc.ResultConflict {
		t.Fatalf("got %+v", s.Receipt)
	}
	ticket, err := d.steering().Adopt(t.Context(), "elsewhere", "main", by("bob"))
	if err != nil {
		t.Fatal(err)
	}
	s := d.receipt(ticket)
	if s.Receipt.Result != oprc.ResultNotFound || !strings.Contains(s.Receipt.Message, "adopt elsewhere") {
		t.Errorf("got %+v", s.Receipt)
	}
	if got := condition(s, "Ready"); got.Reason != "Conflict" || strings.Contains(got.Message, "elsewhere") {
		t.Errorf("got %+v", got)
	}
	asked, err := d.db.Requests(t.Context())
	if err != nil || len(asked.Asked) != 0 {
		t.Errorf("got %+v, %v", asked.Asked, err)
	}
}
