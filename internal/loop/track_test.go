package loop_test

import (
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/loop"
)

// What is not tracked waits until somebody asks for it, over restarts too, and what
// was taken before is kept true meanwhile.
func TestRevisionsWaitWhereTheyAreNotTracked(t *testing.T) {
	d := newDaemon(t)
	loose := func(c *loop.SourceConfig) { c.NoTrack = true }
	d.repo.commit("a", "shop 1")
	d.start(loose) // the first is taken
	until(t, "the first revision", func() bool { return d.status("main").Applied == "a" })
	d.repo.commit("b", "shop 2", "more 1")
	behind := func() bool {
		c := condition(d.status("main"), "Behind")
		return c.Status && strings.Contains(c.Message, "revision b") && strings.Contains(c.Message, "oprc source reconcile main")
	}
	d.loop.Wake("main")
	until(t, "it is shown", behind)
	d.wantImages(map[string]string{"shop": "1"})

	d.start(loose)
	d.forget("shop")
	d.loop.Wake("main")
	until(t, "what was taken is put back", func() bool { return d.images()["shop"] == "1" })
	until(t, "it is still shown", behind)
	if s := d.tick(); s.Applied != "b" || condition(s, "Behind").Status {
		t.Errorf("got %+v", s)
	}
	d.wantImages(map[string]string{"shop": "2", "more": "1"})
}
