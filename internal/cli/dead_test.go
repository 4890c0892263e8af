package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

const (
	edgeReports = "oaas.pm.{env:edge}.reports"
	secretUnit  = `{"config":{"DB_PASSWORD":"hunter2"}}`
)

// bury puts reports into the dead letters, each with its reason.
func bury(t *testing.T, url string, reasons ...string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	db, err := rdb.Open(t.Context(), rdb.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), db.Close() })
	for _, reason := range reasons {
		fields := map[string]string{"type": reason, "unit": secretUnit}
		if reason == "huge" {
			fields["errorMsg"] = strings.Repeat("x", 100<<10)
		}
		if err := c.XAdd(t.Context(), &redis.XAddArgs{Stream: edgeReports, Values: fields}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := db.Reports(t.Context(), "edge", "test", 100, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if err := db.Bury(t.Context(), "edge", e, reasons[i]); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// letters are the reasons of the dead letters that a command lists as JSON, and
// their ids by reason.
func (u *user) letters(args ...string) (reasons []string, ids map[string]string) {
	u.t.Helper()
	var doc struct{ Items []oprc.DeadEntry }
	if err := json.Unmarshal([]byte(u.must(append(args, "-o", "json")...)), &doc); err != nil {
		u.t.Fatal(err)
	}
	ids = map[string]string{}
	for _, e := range doc.Items {
		reasons, ids[e.Reason] = append(reasons, e.Reason), e.ID
		if strings.Contains(e.Fields["unit"], "hunter2") {
			u.t.Errorf("a secret is shown: %s", e.Fields["unit"])
		}
	}
	return reasons, ids
}

func TestDeadLetters(t *testing.T) {
	u, url := newUser(t), rdbtest.Server(t)
	u.env = []string{"OPRC_REDIS_URL=" + url}
	u.must("env", "create", "edge")
	u.must("env", "create", "cloud")
	c := bury(t, url, "first", "second", "third", "huge")

	got, ids := u.letters("dead", "list")
	if d := cmp.Diff(got, []string{"huge", "third", "second", "first"}); d != "" {
		t.Fatalf("dead list (-got +want):\n%s", d)
	}
	if got, _ = u.letters("get", "dead", "cloud"); len(got) > 0 {
		t.Errorf("get dead cloud: got %v", got)
	}
	if out := u.must("get", "dead", "edge"); !strings.Contains(out, "REASON") || !strings.Contains(out, ids["second"]) {
		t.Errorf("get dead: got\n%s", out)
	}
	u.must("dead", "drop", "edge", ids["second"])
	u.must("dead", "retry", "edge", ids["first"])
	last, err := c.XRevRangeN(t.Context(), edgeReports, "+", "-", 1).Result()
	if err != nil || last[0].Values["type"] != "first" {
		t.Errorf("put back: got %v, %v", last, err)
	}
	if got, _ = u.letters("dead", "list", "edge"); !cmp.Equal(got, []string{"huge", "third"}) {
		t.Errorf("after drop and retry: got %v", got)
	}
	for code, args := range map[int][]string{
		3:  {"dead", "retry", "edge", ids["huge"]}, // it was cut
		6:  {"dead", "drop", "edge", "1-1"},
		64: {"dead", "drop", "edge"},
	} {
		if r := u.run(args...); r.code != code {
			t.Errorf("oprc %s: exit %d, want %d\n%s", strings.Join(args, " "), r.code, code, r.err)
		}
	}
	u.must("dead", "retry", "edge", "--all") // what is whole
	if got, _ = u.letters("dead", "list"); !cmp.Equal(got, []string{"huge"}) {
		t.Errorf("after retry --all: got %v", got)
	}
	u.must("dead", "drop", "edge", "--all", "--yes")
	if got, _ = u.letters("dead", "list"); len(got) > 0 {
		t.Errorf("after drop --all: got %v", got)
	}
}

// The rule that is printed, given to Redis as it stands, makes a user.
func TestEnvACL(t *testing.T) {
	u, url := newUser(t), rdbtest.Server(t)
	line := strings.Fields(u.must("env", "acl", "edge", "--user", "ann"))
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	root := redis.NewClient(o)
	words := []any{}
	for _, w := range append(line, ">pw") {
		words = append(words, w)
	}
	if err := root.Do(t.Context(), words...).Err(); err != nil {
		t.Fatal(err)
	}
	o.Username, o.Password = "ann", "pw"
	ann := redis.NewClient(o)
	t.Cleanup(func() { _, _ = root.Close(), ann.Close() })
	if err := ann.XAdd(t.Context(), &redis.XAddArgs{Stream: edgeReports, Values: []string{"a", "b"}}).Err(); err != nil {
		t.Errorf("her own reports: %v", err)
	}
	if err := ann.HGetAll(t.Context(), "oaas_pm:{env:cloud}:units").Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("another environment: got %v, want NOPERM", err)
	}
	if r := u.run("env", "acl", "no good"); r.code != 64 {
		t.Errorf("a wrong name: exit %d", r.code)
	}
}
