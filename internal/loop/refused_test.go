package loop_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A version that is refused is in the package's history, once.
func TestRefusedVersionsAreInTheHistory(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("a", "shop 1", "more 1")
	d.start()
	d.tick()
	const broken = "name: shop\nclasses: [{name: c, functions: [{name: f, function: .nowhere}]}]\n"
	d.repo.commit("b", broken, "more 1")
	for range 3 {
		d.tick()
	}
	d.start()
	d.tick()
	d.repo.commit("c", broken, "more 2") // the same version of shop
	d.tick()
	d.repo.commit("d", "shop 2", "more 2")
	d.tick()
	history := func(pkg string) (out []string) {
		t.Helper()
		entries, err := d.db.History(t.Context(), pkg, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			out = append(out, e.Action+" "+e.Commit)
			if refused := e.Action == oprc.ActionRefuse; refused != strings.Contains(e.Error, "E005") || refused != (e.Rev == 0) {
				t.Errorf("got %+v", e)
			}
		}
		return out
	}
	if diff := cmp.Diff([]string{"update d", "refuse b", "create a"}, history("shop")); diff != "" {
		t.Errorf("shop: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"update c", "create a"}, history("more")); diff != "" {
		t.Errorf("more: -want +got\n%s", diff)
	}
}
