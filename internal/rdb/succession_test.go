package rdb_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// A dying daemon gets no further than to where it dies.
type dying struct {
	*rdb.DB
	die   context.CancelFunc
	where string
}

func (d dying) Flush(ctx context.Context, env string) error {
	if d.where == "before it tells" {
		d.die()
		return context.Canceled
	}
	return d.DB.Flush(ctx, env)
}

func (d dying) Ack(ctx context.Context, env string, ids ...string) error {
	d.die()
	return context.Canceled
}

// Whoever dies where: its successor tells of every change of state, and of none twice
// that was told.
func TestEventsOutliveTheDaemon(t *testing.T) {
	for _, where := range []string{"before it tells", "before it acknowledges"} {
		t.Run(where, func(t *testing.T) {
			onEveryRedis(t, func(t *testing.T, url string) {
				db := open(t, url)
				dispatch(t, db, "edge", command(unit("shop.record", 0, 0, "edge"), oprc.Deploy, 1))
				id := send(t, url, statusFields("1", "RUNNING"))
				takeIn := func(ctx context.Context, r ingest.Reports, consumer string, done func(*ingest.Ingest) bool) {
					ctx, cancel := context.WithCancel(ctx)
					in := &ingest.Ingest{Reports: r, Consumer: consumer, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
					ended := make(chan error, 1)
					go func() { ended <- in.Run(ctx) }()
					for !done(in) && ctx.Err() == nil {
						time.Sleep(10 * time.Millisecond)
					}
					cancel()
					if err := <-ended; err != nil {
						t.Error(err)
					}
				}
				ctx, die := context.WithCancel(t.Context())
				takeIn(ctx, dying{db, die, where}, "one", func(*ingest.Ingest) bool { return false })
				abandon(t, url, id, "one", time.Minute)
				heir := func(in *ingest.Ingest) bool { return in.Counts().Stale > 0 }
				patient, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				takeIn(patient, db, "heir", heir)

				var told []string
				for _, e := range must(db.Events(t.Context(), "", 10))(t) {
					told = append(told, e.From+">"+e.To)
				}
				equal(t, told, []string{"PENDING>DEPLOYING", "DEPLOYING>RUNNING"})
			})
		})
	}
}
