package ingest_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// After a restore a CRM may run what the records do not know: it is undeployed once, by a
// command, when its CRM has said so for a minute; and then it is a unit like others. Where
// no records are left at all, nothing is undeployed.
func TestUnitsThatNoRecordKnowsAreUndeployed(t *testing.T) {
	const ghost = "shop.ghost/0/1@edge"
	for name, lost := range map[string]bool{"an older snapshot was restored": false, "all records are lost": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newInbox()
				if lost {
					clear(b.records)
				}
				in := &ingest.Ingest{Reports: b, Consumer: "test", Now: time.Now, Log: slog.New(slog.DiscardHandler)}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() { _ = in.Run(ctx) }()
				sent := map[time.Duration]int{}
				for at := 0 * time.Second; at <= 2*time.Minute; at += 20 * time.Second {
					r := entry(5, oprc.Running, time.Now().Format("150405")+"-0")
					r.Report.ID = ghost
					b.mu.Lock()
					b.entries = append(b.entries, r)
					b.mu.Unlock()
					time.Sleep(20 * time.Second)
					synctest.Wait()
					sent[at] = len(b.sent)
				}
				switch {
				case lost && len(b.sent) > 0:
					t.Fatalf("all records are lost, and it was undeployed: %+v", b.sent)
				case lost:
					return
				case sent[40*time.Second] != 0 || len(b.sent) != 1:
					t.Fatalf("commands after so long: %v, want one after a minute: %+v", sent, b.sent)
				}
				if c := b.sent[0]; c.Type != oprc.Undeploy || c.ID != ghost || c.Generation != 1 || c.Unit.PartitionInfo.ReplicaID != 1 || c.Unit.TargetEnv != "edge" {
					t.Errorf("got %+v", c)
				}
				if len(b.events) != 1 || b.events[0].Key != ghost || b.events[0].Type != "undeployed" {
					t.Errorf("events: %+v", b.events)
				}
			})
		})
	}
}
