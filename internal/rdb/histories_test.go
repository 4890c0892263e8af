package rdb_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// After any history of writes a reading that keeps what has not moved, by its counters, is
// the reading of somebody who keeps nothing.
func TestKeptReadingsAreWholeOnesAfterAnyHistory(t *testing.T) {
	server := miniredis.RunT(t)
	db, other := open(t, "redis://"+server.Addr()), open(t, "redis://"+server.Addr())
	ignore := cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(plan.Live{}, "Reading"), cmpopts.IgnoreFields(oprc.EnvironmentState{}, "Read")}
	rapid.Check(t, func(t *rapid.T) {
		live, err := db.Live(t.Context())
		for range rapid.IntRange(1, 12).Draw(t, "writes") {
			if err == nil {
				err = step(t, db, other, live)
			}
			var kept, whole plan.Live
			if err == nil {
				kept, err = db.Live(t.Context())
			}
			if err == nil {
				other.Afresh()
				whole, err = other.Live(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(whole, kept, ignore); diff != "" {
				t.Fatalf("-whole +kept\n%s", diff)
			}
			live = kept
		}
	})
}

// step writes something, through one process or another.
func step(t *rapid.T, a, b *rdb.DB, live plan.Live) error {
	db := rapid.SampledFrom([]*rdb.DB{a, b}).Draw(t, "who")
	pkg := rapid.SampledFrom([]string{"p0", "p1", "p2"}).Draw(t, "package")
	env := rapid.SampledFrom([]string{"cloud", "edge"}).Draw(t, "environment")
	number := rapid.IntRange(1, 1<<20).Draw(t, "number")
	key := pkg + ".record"
	id := oprc.UnitID(key, number%2, 0, env)
	generation := live.Units[env][id].Generation
	switch rapid.SampledFrom([]string{"commit", "environment", "remove", "deploy", "undeploy", "report", "heartbeat", "forget"}).Draw(t, "what") {
	case "commit":
		c := reconcile.Commit{Ledger: live.Ledger, Version: live.Version}
		c.Packages = map[string]oprc.PackageRecord{pkg: record(pkg, live.Packages[pkg].Rev+1, fmt.Sprint(number))}
		c.Classes = map[string]oprc.Class{key: {Key: key, Name: "record", Pkg: pkg}}
		c.Deployments = map[string]oprc.Deployment{key: {Key: key, Pkg: pkg, PartitionCount: number}}
		_, err := db.Commit(t.Context(), c)
		return err
	case "environment":
		rec := oprc.EnvironmentRecord{Spec: oprc.Environment{Kind: oprc.KindEnvironment, Name: env, Availability: float64(number) / (1 << 21)}}
		rec.Rev = live.Environments[env].Rev + 1
		_, err := db.Commit(t.Context(), reconcile.Commit{
			Ledger: live.Ledger, Version: live.Version, Environments: map[string]oprc.EnvironmentRecord{env: rec},
		})
		return err
	case "remove":
		if _, there := live.Packages[pkg]; !there {
			return nil
		}
		_, err := db.Commit(t.Context(), reconcile.Commit{Ledger: live.Ledger, Version: live.Version, Delete: []reconcile.Ref{
			{Kind: oprc.KindPackage, Key: pkg}, {Kind: oprc.KindClass, Key: key}, {Kind: oprc.KindDeployment, Key: key},
		}})
		return err
	case "deploy":
		return db.Dispatch(t.Context(), env, []oprc.Command{command(unit(key, number%2, 0, env), oprc.Deploy, generation+1)}, 0)
	case "undeploy":
		return db.Dispatch(t.Context(), env, []oprc.Command{command(unit(key, number%2, 0, env), oprc.Undeploy, generation+1)}, 0)
	case "report":
		if generation == 0 {
			return nil
		}
		is := status(generation, rapid.SampledFrom([]oprc.Condition{oprc.Running, oprc.Down, oprc.Deleted}).Draw(t, "condition"), fmt.Sprintf("%d-1", number))
		_, err := db.Fold(t.Context(), env, []ingest.StatusWrite{{ID: id, Old: live.Statuses[env][id], New: is}}, nil, nil)
		return err
	case "heartbeat":
		return db.Heartbeat(t.Context(), env, []oprc.Heartbeat{{CRM: "crm", Time: time.Now().UTC().Truncate(time.Millisecond)}})
	}
	return db.Forget(t.Context(), env, map[string]int64{id: generation}, 0)
}
