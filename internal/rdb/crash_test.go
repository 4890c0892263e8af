package rdb_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// Redis dies again and again under two writers. Whatever was acknowledged is
// there; record and command are both there or neither; a package agrees with its
// class.
func TestKilledRedisKeepsWhatAgreesTogether(t *testing.T) {
	const kills, seed = 8, 7
	t.Logf("seed %d", seed)
	p := rdbtest.Start(t, t.TempDir())
	var acked sync.Map // what -> generation or revision
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	db := open(t, p.URL())
	wg.Go(func() { dispatchUntil(ctx, t, db, &acked) })
	wg.Go(func() { commitUntil(ctx, t, db, &acked) })
	random := rand.New(rand.NewPCG(seed, seed))
	for range kills {
		time.Sleep(time.Duration(50+random.IntN(150)) * time.Millisecond)
		p.Kill()
		time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
		p.Restart()
		checkAgreement(t, p.URL(), &acked)
	}
	cancel()
	wg.Wait()
	checkAgreement(t, p.URL(), &acked)
	t.Logf("%v kills, last acknowledged: %v", kills, func() (all []string) {
		acked.Range(func(k, v any) bool { all = append(all, fmt.Sprint(k, "=", v)); return true })
		return all
	}())
}

func dispatchUntil(ctx context.Context, t *testing.T, db *rdb.DB, acked *sync.Map) {
	for ctx.Err() == nil {
		var cmds []oprc.Command
		live, err := db.Live(ctx)
		for i := range 20 {
			u := unit("shop.record", i, 0, "edge")
			cmds = append(cmds, command(u, oprc.Deploy, live.Units["edge"][u.ID].Generation+1))
		}
		if err == nil {
			err = db.Dispatch(ctx, "edge", cmds, 0)
		}
		switch {
		case err == nil:
			for _, c := range cmds {
				acked.Store(c.ID, c.Generation)
			}
		case ctx.Err() == nil && !errors.Is(err, rdb.ErrUnavailable):
			t.Errorf("dispatch: %v", err)
			return
		}
	}
}

func commitUntil(ctx context.Context, t *testing.T, db *rdb.DB, acked *sync.Map) {
	for ctx.Err() == nil {
		live, err := db.Live(ctx)
		if err == nil {
			rev := live.Packages["shop"].Rev
			_, err = db.Commit(ctx, reconcile.Commit{
				Ledger: live.Ledger, Version: live.Version,
				Packages: map[string]oprc.PackageRecord{"shop": record("shop", rev+1, strconv.FormatInt(rev+1, 10))},
				Classes:  map[string]oprc.Class{"shop.record": {Key: "shop.record", Description: strconv.FormatInt(rev+1, 10)}},
			})
			if err == nil {
				acked.Store("shop", rev+1)
			}
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, rdb.ErrUnavailable) {
			t.Errorf("commit: %v", err)
			return
		}
	}
}

func checkAgreement(t *testing.T, url string, acked *sync.Map) {
	t.Helper()
	promised := map[string]int64{}
	acked.Range(func(k, v any) bool { promised[k.(string)] = v.(int64); return true })
	c := raw(t, url)
	pipe := c.TxPipeline()
	stream := pipe.XRange(t.Context(), commandStream, "-", "+")
	digests := pipe.HGetAll(t.Context(), "oaas_pm:{env:edge}:digests")
	class := pipe.HGet(t.Context(), "oaas_pm:{catalog}:classes", "shop.record")
	pkg := pipe.HGet(t.Context(), "oaas_pm:{catalog}:packages", "shop")
	if _, err := pipe.Exec(t.Context()); err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	queued := map[string]string{}
	for _, m := range stream.Val() {
		queued[m.Values["id"].(string)] = m.Values["generation"].(string)
	}
	for id, entry := range digests.Val() {
		generation, _, _ := strings.Cut(entry, " ")
		if generation != queued[id] {
			t.Errorf("%s is recorded with generation %s, its last command has %s", id, generation, queued[id])
		}
		if n, _ := strconv.ParseInt(generation, 10, 64); n < promised[id] {
			t.Errorf("%s: generation %d was acknowledged, %d is recorded", id, promised[id], n)
		}
	}
	live := must(open(t, url).Live(t.Context()))(t)
	if live.Packages["shop"].Rev < promised["shop"] {
		t.Errorf("revision %d was acknowledged, %d is there", promised["shop"], live.Packages["shop"].Rev)
	}
	if version := between(pkg.Val(), `"version":"`); version != between(class.Val(), `"description":"`) {
		t.Errorf("package %s with class %s", pkg.Val(), class.Val())
	}
}

func between(doc, from string) string {
	_, rest, _ := strings.Cut(doc, from)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}
