package rdb_test

import (
	"fmt"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// What is shown of a few objects from a reading of parts is what a reading of everything
// shows of them.
func TestPartsShowWhatEverythingShows(t *testing.T) {
	server := miniredis.RunT(t)
	url := "redis://" + server.Addr()
	db := open(t, url)
	c := shop()
	spec := oprc.Package{Name: "p.q", Classes: []oprc.Class{{Name: "record"}}} // a name like a class of p
	c.Packages["p.q"] = oprc.PackageRecord{Spec: spec, Digest: oprc.Digest(spec), Rev: 1}
	c.Classes["p.q.record"] = oprc.Class{Key: "p.q.record", Name: "record", Pkg: "p.q"}
	for i := range 450 {
		name := fmt.Sprintf("p%d", i)
		key := name + ".record"
		rec := record(name, 1, "1")
		rec.Spec.Deployments = []oprc.Deployment{{Key: ".record", TargetEnvs: []string{"edge"}}}
		rec.Digest = oprc.Digest(rec.Spec)
		c.Packages[name] = rec
		c.Classes[key] = oprc.Class{Key: key, Name: "record", Pkg: name}
		c.Deployments[key] = oprc.Deployment{Key: key, Pkg: name, TargetEnvs: []string{"edge"}}
	}
	if err := write(t, db, c); err != nil {
		t.Fatal(err)
	}
	if err := db.Dispatch(t.Context(), "edge", deploys(20, 1), 0); err != nil {
		t.Fatal(err)
	}
	writes := []ingest.StatusWrite{
		{ID: "p1.record/0/0@edge", New: status(1, oprc.Running, "1-1")}, {ID: "p2.record/0/0@edge", New: status(1, oprc.Down, "1-1")},
	}
	if _, err := db.Fold(t.Context(), "edge", writes, nil, nil); err != nil {
		t.Fatal(err)
	}
	dispatch(t, db, "edge", command(unit("p3.record", 0, 0, "edge"), oprc.Undeploy, 2))

	if _, partly, err := open(t, url).LiveOf(t.Context(), []string{"p1"}); !partly || err != nil {
		t.Fatalf("no part is read: %v", err)
	}
	whole := &reconcile.Inspector{Ledger: db, Reader: db}
	for kind, keys := range map[oprc.Kind][]string{
		oprc.KindPackage:    {"p1", "p2", "p3", "p400", "p.q", "none"},
		oprc.KindClass:      {"p1.record", "p3.record", "p.q.record", "p1.none"},
		oprc.KindDeployment: {"p1.record", "p2.record", "p3.record", "p400.record", "p.q.record"},
		oprc.KindUnit:       {"p1.record/0/0@edge", "p2.record/0/0@edge", "p3.record/0/0@edge", "p400.record/0/0@edge"},
	} {
		for _, key := range keys {
			fresh := open(t, url)
			parts := &reconcile.Inspector{Ledger: fresh, Reader: fresh, Parts: fresh}
			want, wantErr := whole.Find(t.Context(), kind, key)
			got, err := parts.Find(t.Context(), kind, key)
			if diff := cmp.Diff(want, got); diff != "" || fmt.Sprint(wantErr) != fmt.Sprint(err) {
				t.Errorf("%s %s: %v, want %v; -whole +part\n%s", kind, key, err, wantErr, diff)
			}
		}
		if kind == oprc.KindUnit {
			continue
		}
		fresh := open(t, url)
		parts := &reconcile.Inspector{Ledger: fresh, Reader: fresh, Parts: fresh}
		want := must(whole.List(t.Context(), kind))(t)
		got, all, err := parts.First(t.Context(), kind, 7)
		if diff := cmp.Diff(want[:7], got); diff != "" || all != len(want) || err != nil {
			t.Errorf("first %ss: %d of %d, %v; -whole +part\n%s", kind, all, len(want), err, diff)
		}
	}
	if _, partly, err := db.LiveOf(t.Context(), []string{"p1"}); partly || err != nil {
		t.Errorf("a part is read where everything is known: %v", err)
	}
	server.HSet("oaas_pm:{catalog}:packages", "p1", `{"spec":{"name":"p1"},"rev":1}`)
	if _, partly, err := open(t, url).LiveOf(t.Context(), []string{"p1"}); partly || err != nil {
		t.Errorf("an altered record is taken for what it was: %v", err)
	}
	server.HDel("oaas_pm:{env:edge}:units", "p9.record/0/0@edge")
	if _, partly, err := open(t, url).LiveOf(t.Context(), []string{"p2"}); partly || err != nil {
		t.Errorf("a lost record is overlooked: %v", err)
	}
}
