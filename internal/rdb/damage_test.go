package rdb_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// A script that meets a value of another type writes nothing: half a commit would be one that
// nobody hears of, and a unit without its command would wait for ever.
func TestMistypedKeysLeaveNothingHalfWritten(t *testing.T) {
	url := servers.Empty(t, rdbtest.Kinds[0])
	db, c := open(t, url), shop()
	c.Events = []oprc.Event{{Type: "applied", Key: "shop"}}
	client, _ := raw(t, url).(*redis.Client)
	mistype := func(key string, write func() error) {
		was := client.Dump(t.Context(), key).Val()
		client.Del(t.Context(), key)
		if err := client.RPush(t.Context(), key, "x").Err(); err != nil {
			t.Fatal(err)
		}
		before := dumped(t, client)
		if err := write(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s is of another type: got %v, want an error that names it", key, err)
		}
		equal(t, dumped(t, client), before)
		client.Del(t.Context(), key)
		if was != "" {
			if err := client.Restore(t.Context(), key, 0, was).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	const catalog, env = "oaas_pm:{catalog}:", "oaas_pm:{env:edge}:"
	for _, key := range []string{
		catalog + "digests", catalog + "packages", catalog + "environments", catalog + "classes", catalog + "functions", catalog + "deployments",
		"oaas.pm.{catalog}.events", catalog + "known", catalog + "ledger", catalog + "gone", catalog + "history:shop",
	} {
		mistype(key, func() error { _, err := db.Commit(t.Context(), c); return err })
	}
	if err := write(t, db, c); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{catalog + "index", catalog + "refs"} {
		client.Del(t.Context(), key)
		if err := client.RPush(t.Context(), key, "x").Err(); err != nil {
			t.Fatal(err)
		}
		if sound, err := rdb.IndexIsOf(db, t.Context(), must(db.Live(t.Context()))(t).Version); sound || err != nil {
			t.Errorf("%s is of another type: the index is believed, %v", key, err)
		}
		if err := write(t, db, shop()); err != nil {
			t.Errorf("%s is of another type: %v", key, err)
		}
	}
	for _, key := range []string{env + "units", env + "digests", "oaas.pm.{env:edge}.commands", env + "fence", env + "status"} {
		mistype(key, func() error {
			return db.Dispatch(t.Context(), "edge", []oprc.Command{command(unit("shop.record", 0, 0, "edge"), oprc.Deploy, 1)}, 0)
		})
	}
}

// dumped is all that a Redis holds.
func dumped(t *testing.T, c *redis.Client) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, key := range c.Keys(t.Context(), "*").Val() {
		out[key] = c.Dump(t.Context(), key).Val()
	}
	return out
}

// What is no unit of an environment among its units is no unit of a plan either, and is
// dropped; so is half of one that does not run. Nothing else is.
func TestStraysAreDropped(t *testing.T) {
	const env, id, gone = "oaas_pm:{env:edge}:", "shop.record/0/0@edge", "shop.record/1/0@edge"
	url := servers.Empty(t, rdbtest.Kinds[0])
	db := open(t, url)
	if err := write(t, db, shop()); err != nil {
		t.Fatal(err)
	}
	dispatch(t, db, "edge", command(unit("shop.record", 0, 0, "edge"), oprc.Deploy, 1), command(unit("shop.record", 1, 0, "edge"), oprc.Undeploy, 1))
	before := must(db.Live(t.Context()))(t)
	if dropped := must(db.Weed(t.Context(), 1))(t); len(dropped) > 0 {
		t.Fatalf("nothing is damaged, and yet it drops %v", dropped)
	}
	client, _ := raw(t, url).(*redis.Client)
	record := client.HGet(t.Context(), env+"units", id).Val()
	elsewhere, half := "shop.record/0/0@other", "shop.record/7/0@edge"
	for _, command := range [][]any{
		{"HSET", env + "units", "zz", "{}", elsewhere, record, half, "{}"},
		{"HSET", env + "digests", "yy", "1 abc", elsewhere, "1 abc"},
		{"HDEL", env + "units", gone},
		{"HDEL", env + "digests", id}, // the record says what it is
		{"INCR", env + "moved"},
	} {
		if err := client.Do(t.Context(), command...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	live := must(db.Live(t.Context()))(t)
	equal(t, slices.Sorted(maps.Keys(live.Units["edge"])), []string{id, gone, half})
	equal(t, slices.Sorted(maps.Keys(live.Damaged)), []string{"unit/" + id, "unit/" + elsewhere, "unit/" + gone, "unit/" + half, "unit/yy", "unit/zz"})
	if got, want := live.Units["edge"][id], before.Units["edge"][id]; got != want {
		t.Errorf("the unit that runs is %v, want %v", got, want)
	}
	equal(t, must(db.Weed(t.Context(), 1))(t), []string{elsewhere, gone, half, "yy", "zz"})
	live = must(db.Live(t.Context()))(t)
	equal(t, slices.Sorted(maps.Keys(live.Damaged)), []string{"unit/" + id})
	equal(t, slices.Sorted(maps.Keys(live.Units["edge"])), []string{id})
	if _, err := open(t, url).Weed(t.Context(), 0); err != nil {
		t.Errorf("with nothing read: %v", err)
	}
}

// Whatever record or digest is lost or altered alone is shown as damaged, and nothing of
// what is recorded seems to be gone with it.
func TestDamageIsShown(t *testing.T) {
	const catalog, env, id = "oaas_pm:{catalog}:", "oaas_pm:{env:edge}:", "shop.record/0/0@edge"
	for name, tc := range map[string]struct {
		command []any
		want    []string
	}{
		"all digests": {
			[]any{"DEL", catalog + "digests"},
			[]string{"class/shop.record", "deployment/shop.record", "environment/edge", "function/shop.pay", "package/shop"},
		},
		"a class's digest": {[]any{"HDEL", catalog + "digests", "class/shop.record"}, []string{"class/shop.record"}},
		"an altered digest": {
			[]any{"HSET", catalog + "digests", "class/shop.record", "7 abc -"}, []string{"class/shop.record"},
		},
		"an altered unit's digest": {[]any{"HSET", env + "digests", id, "1 abc"}, []string{"unit/" + id}},
		"packages":                 {[]any{"DEL", catalog + "packages"}, []string{"package/shop"}},
		"classes":                  {[]any{"DEL", catalog + "classes"}, []string{"class/shop.record"}},
		"a class":                  {[]any{"HSET", catalog + "classes", "shop.record", `{"_key":"shop.record","disabled":true}`}, []string{"class/shop.record"}},
		"a deployment":             {[]any{"HDEL", catalog + "deployments", "shop.record"}, []string{"deployment/shop.record"}},
		"an environment": {
			[]any{"HSET", catalog + "environments", "edge", `{"spec":{"name":"edge","availability":0.1},"rev":1}`}, []string{"environment/edge"},
		},
		"a unit":          {[]any{"HDEL", env + "units", id}, []string{"unit/" + id}},
		"a unit's digest": {[]any{"HDEL", env + "digests", id}, []string{"unit/" + id}},
		"an altered unit": {[]any{"HSET", env + "units", id, `{"unit":{"id":"x"},"generation":1,"op":"deploy"}`}, []string{"unit/" + id}},
		"what is no unit": {[]any{"HSET", env + "units", "zz", "{}"}, []string{"unit/zz"}},
		"nothing":         {[]any{"PING"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			url := servers.Empty(t, rdbtest.Kinds[0])
			db, c := open(t, url), shop()
			entry := c.History["shop"]
			entry.Digest = c.Packages["shop"].Digest
			c.History["shop"] = entry
			if err := write(t, db, c); err != nil {
				t.Fatal(err)
			}
			dispatch(t, db, "edge", command(unit("shop.record", 0, 0, "edge"), oprc.Deploy, 1), command(unit("shop.record", 1, 0, "edge"), oprc.Deploy, 1))
			before := must(db.Live(t.Context()))(t)
			client, _ := raw(t, url).(*redis.Client)
			if err := client.Do(t.Context(), tc.command...).Err(); err != nil {
				t.Fatal(err)
			}
			live := must(open(t, url).Live(t.Context()))(t)
			equal(t, slices.Sorted(maps.Keys(live.Damaged)), tc.want)
			equal(t, slices.Sorted(maps.Keys(live.Packages)), slices.Sorted(maps.Keys(before.Packages)))
			if got := live.Units["edge"][id]; got.Generation != 1 {
				t.Errorf("the unit is at generation %d, want 1", got.Generation)
			}
			// Who has read before, and keeps what no counter shows as moved, comes to see it too.
			var kept []string
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				if kept = slices.Sorted(maps.Keys(must(db.Live(t.Context()))(t).Damaged)); slices.Equal(kept, tc.want) {
					break
				}
			}
			equal(t, kept, tc.want)
		})
	}
}
