package rdb_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	goruntime "runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

var unreadReports = flag.Int("reports", 30_000, "how many reports wait for the daemon in TestCatchingUp")

// A daemon that was away finds reports of a CRM that went on repeating itself. It
// catches up in bounded memory, ends with the truth, and other environments do not
// wait for that.
func TestCatchingUp(t *testing.T) {
	const units = 1000
	url := rdbtest.Server(t) // of its own: what is measured is the daemon's side
	db, c := open(t, url), raw(t, url)
	for _, env := range []string{"edge", "cloud"} {
		var cmds []oprc.Command
		for i := range units {
			cmds = append(cmds, command(unit("shop.record", i, 0, env), oprc.Deploy, 1))
		}
		dispatch(t, db, env, cmds...)
	}
	// What was said last is true: even units run, odd ones are down.
	flood(t, c, "edge", *unreadReports)

	in := &ingest.Ingest{Reports: db, Consumer: "one", Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	began, spent := time.Now(), processorTime(t)
	go func() { done <- in.Run(ctx) }()

	var peak uint64
	var slowest time.Duration
	for n := 0; ; n++ {
		slowest = max(slowest, heardFrom(t, db.Statuses, c, n))
		var m goruntime.MemStats
		goruntime.ReadMemStats(&m)
		peak = max(peak, m.HeapInuse)
		if in.Counts().Folded >= *unreadReports+n {
			break
		}
	}
	took := time.Since(began)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	t.Logf("%d reports in %s, %s of processor time; heap at most %d MB; another environment waited at most %s",
		*unreadReports, took.Round(time.Millisecond), (processorTime(t) - spent).Round(time.Millisecond), peak>>20, slowest.Round(time.Millisecond))
	for id, s := range must(db.Statuses(t.Context(), "edge"))(t) {
		_, partition, _, _, _ := oprc.ParseUnitID(id)
		if want := lastOf(partition); s.Condition != want {
			t.Errorf("%s: got %s, want %s", id, s.Condition, want)
		}
	}
	if peak > 256<<20 {
		t.Errorf("the heap grew to %d MB", peak>>20)
	}
	if slowest > 5*time.Second {
		t.Errorf("another environment waited for %s", slowest)
	}
}

// processorTime is what this process has used; Redis is another one.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func lastOf(partition int) oprc.Condition {
	return []oprc.Condition{oprc.Running, oprc.Down}[partition%2]
}

// flood appends n reports on 1000 units, round after round; the last round is true.
func flood(t *testing.T, c redis.UniversalClient, env string, n int) {
	t.Helper()
	for i := 0; i < n; {
		p := c.Pipeline()
		for range 1000 {
			condition := oprc.Deploying
			if i >= n-1000 {
				condition = lastOf(i % 1000)
			} else if i/1000%2 == 1 {
				condition = oprc.Running
			}
			p.XAdd(t.Context(), &redis.XAddArgs{Stream: "oaas.pm.{env:" + env + "}.reports", Values: map[string]string{
				"type": "status", "crm": "x", "ts": "2026-03-01T13:00:05Z", "id": oprc.UnitID("shop.record", i%1000, 0, env),
				"generation": "1", "specHash": "sha256:ab", "condition": string(condition), "replicas": `["pod-` + strconv.Itoa(i) + `"]`,
				"functions": `{"shop.add":{"condition":"RUNNING","invocationUrl":"http://add.shop.example"}}`,
			}})
			i++
		}
		if _, err := p.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// heardFrom reports on a unit of environment cloud, and waits for the effect.
func heardFrom(t *testing.T, statuses func(context.Context, string) (map[string]oprc.Status, error), c redis.UniversalClient, n int) time.Duration {
	t.Helper()
	id := oprc.UnitID("shop.record", n%1000, 0, "cloud")
	began := time.Now()
	err := c.XAdd(t.Context(), &redis.XAddArgs{Stream: "oaas.pm.{env:cloud}.reports", Values: map[string]string{
		"type": "status", "crm": "y", "ts": "2026-03-01T13:00:05Z", "id": id, "generation": "1", "specHash": "sha256:ab",
		"condition": "RUNNING", "replicas": fmt.Sprintf("[%q]", strconv.Itoa(n)),
	}}).Err()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if s := must(statuses(t.Context(), "cloud"))(t)[id]; len(s.Replicas) == 1 && s.Replicas[0] == strconv.Itoa(n) {
			return time.Since(began)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
