package crm_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// inject puts an entry into the command stream that no dispatch wrote.
func (w *world) inject(fields map[string]string) {
	w.t.Helper()
	if err := w.c.XAdd(w.t.Context(), &redis.XAddArgs{Stream: w.stream("commands"), Values: fields}).Err(); err != nil {
		w.t.Fatal(err)
	}
}

func entry(c oprc.Command) map[string]string {
	return map[string]string{
		"type": string(c.Type), "id": c.ID, "generation": strconv.FormatInt(c.Generation, 10), "specHash": c.SpecHash,
		"revision": c.Revision, "ts": c.Time.UTC().Format(time.RFC3339Nano), "unit": string(oprc.MustCanonical(c.Unit)),
	}
}

func TestRepeatedAndLateCommandsChangeNothing(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{}
		w.run(crm.Options{}, h)
		first, second := command(oprc.Deploy, 1, unit(0, "a")), command(oprc.Deploy, 2, unit(0, "b"))
		w.dispatch(first)
		w.dispatch(second)
		w.saysLast(first.ID, "2 RUNNING crm-1")
		w.settles()
		before := len(h.did())
		for range 3 {
			w.inject(entry(first))
			w.inject(entry(second))
		}
		w.read(6 + 2)
		w.settles()
		if got := h.did()[before:]; len(got) > 0 {
			t.Errorf("the handler was asked again: %v", got)
		}
		said := w.said(first.ID)
		if got, want := said[len(said)-1], "2 RUNNING crm-1"; got != want {
			t.Errorf("last report: got %q, want %q", got, want)
		}
	})
}

// read waits until the group was given so many entries.
func (w *world) read(n int64) {
	w.t.Helper()
	eventually(w.t, "entries read", func() int64 {
		groups, err := w.c.XInfoGroups(w.t.Context(), w.stream("commands")).Result()
		if err != nil || len(groups) != 1 {
			return -1
		}
		return groups[0].EntriesRead
	}, func(got int64) bool { return got >= n })
}

func TestCommandsThatCannotBeMeantAreBuried(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		good := command(oprc.Deploy, 2, unit(0, "b"))
		tests := map[string]struct {
			change func(map[string]string)
			reason string
		}{
			"empty":             {func(f map[string]string) { clear(f); f["x"] = "y" }, "type is"},
			"unknown type":      {func(f map[string]string) { f["type"] = "restart" }, "type is"},
			"no id":             {func(f map[string]string) { f["id"] = "shop.cart" }, "no unit id"},
			"other environment": {func(f map[string]string) { f["id"] = "shop.cart/0/0@cloud" }, "another environment"},
			"no generation":     {func(f map[string]string) { f["generation"] = "two" }, "generation"},
			"zero generation":   {func(f map[string]string) { f["generation"] = "0" }, "generation"},
			"broken unit":       {func(f map[string]string) { f["unit"] = `{"id":` }, "no JSON"},
			"huge":              {func(f map[string]string) { f["unit"] = strings.Repeat("[", 1<<20) }, "no JSON"},
			"other unit":        {func(f map[string]string) { f["unit"] = string(oprc.MustCanonical(unit(1, "b"))) }, "the command is about"},
			"forged unit":       {func(f map[string]string) { f["unit"] = string(oprc.MustCanonical(unit(0, "evil"))) }, "not the digest"},
			"forged hash": {func(f map[string]string) {
				f["unit"], f["specHash"] = string(oprc.MustCanonical(unit(0, "evil"))), oprc.Digest(unit(0, "evil"))
			}, "another command"},
			"forged undeploy":   {func(f map[string]string) { f["type"] = "undeploy" }, "another command"},
			"future generation": {func(f map[string]string) { f["generation"] = "7" }, "never dispatched"},
			"unknown unit": {func(f map[string]string) {
				u := unit(9, "b")
				f["id"], f["unit"], f["specHash"] = u.ID, string(oprc.MustCanonical(u)), oprc.Digest(u)
			}, "ever dispatched"},
			"bad time": {func(f map[string]string) { f["ts"] = "yesterday" }, "RFC 3339"},
		}
		h := &recorder{}
		w.run(crm.Options{}, h)
		w.dispatch(command(oprc.Deploy, 1, unit(0, "a")))
		w.dispatch(good)
		w.saysLast(good.ID, "2 RUNNING crm-1")
		w.settles()
		before := h.did()
		for name, tc := range tests {
			t.Run(name, func(t *testing.T) {
				if err := w.c.Del(t.Context(), w.stream("dead")).Err(); err != nil {
					t.Fatal(err)
				}
				f := entry(good)
				tc.change(f)
				w.inject(f)
				letters := eventually(t, "dead letters", func() []redis.XMessage {
					m, _ := w.c.XRange(t.Context(), w.stream("dead"), "-", "+").Result()
					return m
				}, func(m []redis.XMessage) bool { return len(m) > 0 })
				if got, _ := letters[0].Values["reason"].(string); !strings.Contains(got, tc.reason) {
					t.Errorf("reason: got %q, want %q in it", got, tc.reason)
				}
				if got := letters[0].Values["stream"]; got != "commands" {
					t.Errorf("stream: got %q", got)
				}
			})
		}
		w.settles()
		if diff := cmp.Diff(h.did(), before); diff != "" {
			t.Errorf("calls (-got +want):\n%s", diff)
		}
		w.dispatch(command(oprc.Undeploy, 3, unit(0, "b")))
		w.saysLast(good.ID, "3 DELETED crm-1")
	})
}

func TestFailedDeploymentIsReportedAndTriedAgain(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{fail: 1}
		w.run(crm.Options{}, h)
		u := unit(0, "a")
		w.deploys(u)
		want := []string{"1 DEPLOYING crm-1", "1 DOWN crm-1", "1 RUNNING crm-1"}
		if diff := cmp.Diff(w.said(u.ID), want); diff != "" {
			t.Errorf("reports (-got +want):\n%s", diff)
		}
	})
}

func TestNewerCommandEndsTheOneInFlight(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{block: make(chan struct{})}
		w.run(crm.Options{}, h)
		u := unit(0, "a")
		w.dispatch(command(oprc.Deploy, 1, u))
		w.saysLast(u.ID, "1 DEPLOYING crm-1")
		eventually(t, "pending while deploying, want 1", w.pending, func(n int64) bool { return n == 1 })
		w.dispatch(command(oprc.Deploy, 2, unit(0, "b")))
		w.saysLast(u.ID, "2 DEPLOYING crm-1")
		close(h.block)
		w.saysLast(u.ID, "2 RUNNING crm-1")
		w.settles()
		if slices.Contains(w.said(u.ID), "1 RUNNING crm-1") {
			t.Errorf("generation 1 was said to run: %v", w.said(u.ID))
		}
	})
}

func TestHandlerReportsLaterChanges(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{}
		w.run(crm.Options{}, h)
		u := unit(0, "a")
		w.dispatch(command(oprc.Deploy, 1, u))
		w.saysLast(u.ID, "1 RUNNING crm-1")
		if !h.report(u.ID, crm.State{Condition: crm.Down, ErrorMsg: "out of memory"}) {
			t.Error("the reporter of a unit that runs says that it does not")
		}
		w.saysLast(u.ID, "1 DOWN crm-1")
		h.report(u.ID, crm.State{})
		w.saysLast(u.ID, "1 RUNNING crm-1")
		old := h.reports[u.ID]
		w.dispatch(command(oprc.Undeploy, 2, u))
		w.saysLast(u.ID, "2 DELETED crm-1")
		if old(crm.State{Condition: crm.Down}) {
			t.Error("the reporter of a unit that is gone says that it runs")
		}
		w.saysLast(u.ID, "2 DELETED crm-1")
	})
}
