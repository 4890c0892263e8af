//go:build endurance

package e2e_test

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/ingest"
	core "github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// A CRM misses a hundred thousand commands and more. Their stream stays bounded; what
// it needs is in the records: it deploys each unit once, as it is asked for last.
func TestCRMAwayForADay(t *testing.T) {
	t.Parallel()
	const (
		env     = "far"
		count   = 100  // units
		rounds  = 1100 // times that each of them changes meanwhile
		mostLen = 100_000
		dropped = 10 // units of which the last command is to undeploy
	)
	store := rdbtest.Server(t)
	db, c := openLedger(t, store), chaosClient(t, store)
	in := &ingest.Ingest{Reports: db, Consumer: "test", Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	var ingest sync.WaitGroup
	ingest.Go(func() { _ = in.Run(t.Context()) })
	t.Cleanup(ingest.Wait)

	// It was there once.
	far, stop := startCRM(t, store, env, crm.Options{})
	send := func(round int) {
		cmds := make([]core.Command, 0, count)
		for i := range count {
			u := core.DeploymentUnit{
				ID: core.UnitID("shop.cart", i, 0, env), ClsKey: "shop.cart", TargetEnv: env,
				Functions:     []core.UnitFunction{{Key: "shop.add", Image: fmt.Sprintf("registry.example/add:%d", round)}},
				PartitionInfo: core.PartitionInfo{PartitionID: i},
			}
			op := core.Deploy
			if round == rounds && i < dropped {
				op = core.Undeploy
			}
			cmds = append(cmds, core.Command{Type: op, ID: u.ID, Generation: int64(round), SpecHash: core.Digest(u), Time: time.Now(), Unit: u})
		}
		if err := db.Dispatch(t.Context(), env, cmds, 0); err != nil {
			t.Fatal(err)
		}
	}
	send(1)
	within(t, patience, "the first round runs", func() string {
		if n := len(far.runs()); n < count {
			return fmt.Sprintf("%d units", n)
		}
		return ""
	})
	stop()

	began := time.Now()
	most := int64(0)
	for round := 2; round <= rounds; round++ {
		send(round)
		if round%50 == 0 { // the daemon trims about once a minute
			if err := db.Trim(t.Context(), env); err != nil {
				t.Fatal(err)
			}
			most = max(most, c.XLen(t.Context(), "oaas.pm.{env:"+env+"}.commands").Val())
		}
	}
	missed := time.Since(began)
	if most > mostLen {
		t.Errorf("the stream grew to %d entries, more than %d", most, mostLen)
	}

	back := time.Now()
	far, _ = startCRM(t, store, env, crm.Options{}) // nothing of its world is left
	want := map[string]int{}
	for i := dropped; i < count; i++ {
		want[core.UnitID("shop.cart", i, 0, env)] = 1
	}
	within(t, patience, "it is right", func() string {
		for _, line := range far.runs() {
			if wanted := fmt.Sprintf("registry.example/add:%d", rounds); line[len(line)-len(wanted):] != wanted {
				return line
			}
		}
		if n := len(far.runs()); n != len(want) {
			return fmt.Sprintf("%d units", n)
		}
		return ""
	})
	right := time.Since(back)
	within(t, patience, "all of it is reported", func() string {
		_, open := ledgerRuns(t.Context(), db, env)
		return open
	})
	within(t, patience, "the stream is read and trimmed", func() string {
		if err := db.Trim(t.Context(), env); err != nil {
			t.Fatal(err)
		}
		if n := c.XLen(t.Context(), "oaas.pm.{env:"+env+"}.commands").Val(); n > count {
			return fmt.Sprintf("%d entries", n)
		}
		return ""
	})
	deploys, _ := far.calls()
	if d := cmp.Diff(deploys, want); d != "" {
		t.Errorf("deployments (-got +want):\n%s", d)
	}
	letters, err := db.Dead(t.Context(), env, 10)
	if err != nil || len(letters) > 0 {
		t.Errorf("dead letters: %v, %v", letters, err)
	}
	t.Logf("%d commands missed (sent in %s), at most %d kept; right after %s, all of them read after %s",
		count*(rounds-1), missed.Round(time.Millisecond), most, right.Round(time.Millisecond), time.Since(back).Round(time.Millisecond))
}
