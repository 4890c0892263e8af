package loop_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// What others are told comes from conditions that are stored: each outage and each
// recovery once, and a restart repeats nothing.
func TestTransitionsAreToldOnce(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	var mu sync.Mutex
	var told []string
	d.settled = func(st loop.Step, ready oprc.SourceCondition) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf("%s %v %s %s", st.Source, ready.Status, ready.Reason, ready.Revision))
	}
	heard := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string{}, told...)
	}
	var want []string
	expect := func(next string) {
		t.Helper()
		want = append(want, next)
		d.tick()
		until(t, next, func() bool { return len(heard()) >= len(want) })
		d.tick() // the same again is no news
		d.tick()
	}
	d.repo.commit("a", "shop 1")
	d.start()
	expect("main true Applied a")
	d.start()
	d.tick()
	d.tick()
	for range 2 {
		d.repo.fail(errors.New("no route to host"))
		expect("main false Unreachable a")
		d.start() // also in the middle of an outage
		d.tick()
		d.repo.fail(nil)
		expect("main true Applied a")
	}
	d.repo.commit("b", "shop 2")
	expect("main true Applied b")
	if diff := cmp.Diff(want, heard()); diff != "" {
		t.Errorf("told: -want +got\n%s", diff)
	}
}
