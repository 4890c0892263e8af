package rdb_test

import (
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

func TestRequests(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db, ctx := open(t, url), t.Context()
		first := must(db.AskTick(ctx, "main"))(t)
		adopt := oprc.SourceRequest{Verb: oprc.VerbAdopt, Name: "shop", Source: "side", At: at(3)}
		with := must(db.AskTick(ctx, "side", adopt))(t)
		equal(t, must(db.Requests(ctx))(t), oprc.Requests{Tickets: map[string]int64{"main": first, "side": with}, Asked: []oprc.SourceRequest{adopt}})
		if err := db.DropRequest(ctx, adopt); err != nil {
			t.Fatal(err)
		}
		second := must(db.AskTick(ctx, "main"))(t)
		if second <= first || first < time.Now().Add(-time.Hour).UnixMilli() {
			t.Errorf("tickets %d, then %d", first, second)
		}
		until := time.Now().Add(time.Hour).Round(0)
		sleep := oprc.SourceRequest{Verb: oprc.VerbSuspend, Name: "main", By: "ann", Reason: "night", At: at(1), Until: until.UTC()}
		bad := oprc.SourceRequest{Verb: oprc.VerbQuarantine, Name: "shop", At: at(2), Digest: "sha256:a"}
		for _, r := range []oprc.SourceRequest{bad, sleep} {
			if err := db.PutRequest(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, must(db.Requests(ctx))(t), oprc.Requests{Tickets: map[string]int64{"main": second, "side": with}, Asked: []oprc.SourceRequest{bad, sleep}})

		// A suspension is shown whether or not a daemon has heard of it.
		if err := db.PutSource(ctx, oprc.SourceStatus{Name: "main"}, nil, 0); err != nil {
			t.Fatal(err)
		}
		want := &oprc.Suspension{Reason: "night", Author: "ann", Since: at(1), Until: until.UTC()}
		equal(t, must(db.Sources(ctx))(t)["main"].Suspended, want)

		// Only the request that is meant is taken back.
		worse := bad
		worse.Digest = "sha256:b"
		if err := db.PutRequest(ctx, worse); err != nil {
			t.Fatal(err)
		}
		for _, r := range []oprc.SourceRequest{bad, sleep} {
			if err := db.DropRequest(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, must(db.Requests(ctx))(t).Asked, []oprc.SourceRequest{worse})
		equal(t, must(db.Sources(ctx))(t)["main"].Suspended, (*oprc.Suspension)(nil))
	})
}
