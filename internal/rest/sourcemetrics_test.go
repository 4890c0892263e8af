package rest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/rest"
)

func TestMetricsOfSources(t *testing.T) {
	metrics := rest.NewMetrics()
	w := newWorld(t, func(s *rest.Server) { s.Metrics = metrics })
	tick := func(rev string, applied bool, err error) {
		metrics.Tick(loop.Tick{
			Source: "main", Revision: loop.Revision{ID: rev, When: start}, Took: 30 * time.Millisecond, Applied: applied, Err: err,
		})
	}
	want := func(lines ...string) {
		t.Helper()
		body := w.get("/metrics").body
		for _, line := range lines {
			if !strings.Contains(body, line+"\n") {
				t.Errorf("no line %q", line)
			}
		}
	}
	tick("aaa", true, nil)
	tick("aaa", false, nil)
	want(
		`oprc_source_revision_info{revision="aaa",source="main"} 1`,
		`oprc_reconcile_duration_seconds_count{result="applied",source="main"} 1`,
		`oprc_reconcile_duration_seconds_count{result="unchanged",source="main"} 1`,
		`oprc_reconcile_duration_seconds_bucket{result="applied",source="main",le="0.025"} 0`,
		`oprc_reconcile_duration_seconds_bucket{result="applied",source="main",le="0.1"} 1`,
	)

	// A revision runs once the last of its units is reported to: 4 s after the commit.
	req := reconcile.Request{Files: []oprc.File{{Path: "shop.yaml", Data: []byte(shop)}}}
	req.Scope.Origin = "git:main"
	if _, err := w.state.Apply(t.Context(), req, reconcile.Conditions{AnyRemovals: true}, reconcile.Actor{Revision: "bbb"}); err != nil {
		t.Fatal(err)
	}
	tick("bbb", true, nil)
	want(`oprc_commands_inflight{env="east"} 2`, `oprc_commit_to_running_seconds_count 0`)
	if strings.Contains(w.get("/metrics").body, `revision="aaa"`) {
		t.Error("the revision before is still shown")
	}
	for i, id := range []string{"shop.cart/0/0@east", "shop.cart/1/0@east"} {
		recs, err := w.state.UnitRecords(t.Context(), "east")
		if err != nil {
			t.Fatal(err)
		}
		st := oprc.Status{
			Generation: 1, SpecHash: recs[id].SpecHash, Condition: oprc.Running, CRM: "c", ReportID: "1-0",
			Time: start.Add(time.Duration(i+3) * time.Second),
		}
		if _, err := w.state.Fold(t.Context(), "east", []ingest.StatusWrite{{ID: id, New: st}}, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	// The environment has to be heard of: else all in it is shown otherwise.
	if err := w.state.Heartbeat(t.Context(), "east", []oprc.Heartbeat{{CRM: "c", Time: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	want(`oprc_commit_to_running_seconds_sum 4`, `oprc_commit_to_running_seconds_count 1`)
	want(`oprc_commit_to_running_seconds_count 1`) // once
}

// That a source is suspended shows beside its conditions.
func TestMetricsOfSuspension(t *testing.T) {
	w := newWorld(t)
	if err := w.state.PutSource(t.Context(), oprc.SourceStatus{Name: "main"}, nil, 0); err != nil {
		t.Fatal(err)
	}
	shown := func() bool {
		return strings.Contains(w.get("/metrics").body, `oprc_source_condition{condition="Suspended",source="main"} 1`)
	}
	if shown() {
		t.Error("nobody suspended it")
	}
	r := oprc.SourceRequest{Verb: oprc.VerbSuspend, Name: "main", Reason: "freeze", At: time.Now()}
	if err := w.state.PutRequest(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if !shown() {
		t.Error("the suspension is not shown")
	}
}
