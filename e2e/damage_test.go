package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	core "github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"

	"github.com/oaas-platform/oprc/crm"
)

// Somebody deletes or alters one key of the ledger while a daemon and CRMs run. Within a
// tick it is right again, or plan, why and doctor name it: nothing may look right and be
// wrong, and the daemon carries the next change out. The keys are those that are found in
// Redis, so a new one is covered by itself.

var damageShare = flag.Int("damage.share", 40, "damage one in so many `pairs` of a key and what is done to it; 1: all")

// A damage is done to one key.
type damage struct {
	what string
	do   func(ctx context.Context, c *redis.Client, key string) error
}

func deleted(ctx context.Context, c *redis.Client, key string) error { return c.Del(ctx, key).Err() }

// mistyped puts a value of another type in the key's place.
func mistyped(ctx context.Context, c *redis.Client, key string) error {
	kind, err := c.Type(ctx, key).Result()
	if err != nil {
		return err
	}
	if err := c.Del(ctx, key).Err(); err != nil {
		return err
	}
	if kind == "string" {
		return c.SAdd(ctx, key, "damaged").Err()
	}
	return c.Set(ctx, key, "damaged", 0).Err()
}

// field changes one field of a hash, or deletes it.
func field(n int, change func(value string) string) func(context.Context, *redis.Client, string) error {
	return func(ctx context.Context, c *redis.Client, key string) error {
		all, err := c.HGetAll(ctx, key).Result()
		if err != nil || len(all) == 0 {
			return err
		}
		name := slices.Sorted(maps.Keys(all))[n%len(all)]
		value := change(all[name])
		if value == "" {
			return c.HDel(ctx, key, name).Err()
		}
		return c.HSet(ctx, key, name, value).Err()
	}
}

func whole(change func(value string) string) func(context.Context, *redis.Client, string) error {
	return func(ctx context.Context, c *redis.Client, key string) error {
		value, err := c.Get(ctx, key).Result()
		if err != nil {
			return err
		}
		return c.Set(ctx, key, change(value), redis.KeepTTL).Err()
	}
}

func emptied(string) string { return "" }
func garbled(string) string { return "{damaged" }
func foreign(string) string { return `{"foreign":[1,2]}` }

// altered changes what a value says, so that it can still be read.
func altered(was string) string {
	value := strings.NewReplacer("i:", "j:", "PUBLIC", "PRIVATE", "RUNNING", "DOWN", `"units":100`, `"units":99`, "memory", "another", "git:files", "git:other").Replace(was)
	if value == was { // whatever it is
		value = strings.NewReplacer("1", "2", "0", "7").Replace(value)
	}
	if value == was {
		value += "x"
	}
	return value
}

// damages lists what is done to a key of a type; fields are how many it has.
func damages(kind string, fields int) []damage {
	all := []damage{{"deleted", deleted}, {"of another type", mistyped}}
	switch kind {
	case "hash":
		for n := range min(fields, 3) { // the fields of larger hashes are alike
			name := fmt.Sprintf("field %d", n)
			all = append(all, damage{name + " deleted", field(n, emptied)}, damage{name + " altered", field(n, altered)},
				damage{name + " of other JSON", field(n, foreign)}, damage{name + " that cannot be read", field(n, garbled)})
		}
	case "string":
		all = append(all, damage{"altered", whole(altered)}, damage{"that cannot be read", whole(garbled)})
	case "set":
		all = append(all, damage{"a member deleted", func(ctx context.Context, c *redis.Client, key string) error { return c.SPop(ctx, key).Err() }})
	case "stream":
		all = append(all,
			damage{"emptied", func(ctx context.Context, c *redis.Client, key string) error { return c.XTrimMaxLen(ctx, key, 0).Err() }},
			damage{"with an entry that nobody understands", func(ctx context.Context, c *redis.Client, key string) error {
				return c.XAdd(ctx, &redis.XAddArgs{Stream: key, Values: []string{"damaged", "{"}}).Err()
			}})
	}
	return all
}

// A patient is a ledger with a daemon and CRMs.
type patient struct {
	home, url, files string
	c                *redis.Client
	m                map[string]*memoryCRM
	image            int
	usual            []string // what doctor remarks while nothing is damaged
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	p := &patient{home: t.TempDir(), url: rdbtest.Server(t), files: t.TempDir(), m: map[string]*memoryCRM{}}
	p.c = rdbtest.Client(t, p.url).(*redis.Client)
	write(t, p.files, "edge.yaml", "kind: Environment\nname: edge\ncapacity: {units: 100}\n")
	p.release(t)
	hand := write(t, p.home, "hand.yaml", "kind: Environment\nname: lab\ncapacity: {units: 100}\n---\nname: hand\nfunctions: [{name: h, provision: {knative: {image: \"h:1\"}}}]\nclasses: [{name: H, functions: [{name: h, function: .h}]}]\ndeployments: [{key: .H, targetEnvs: [lab]}]\n")
	gone := write(t, p.home, "gone.yaml", "name: gone\n")
	expect(t, 0, p.home, "apply", "-f", hand, "-f", gone, "--redis", p.url)
	expect(t, 0, p.home, "delete", "package", "gone", "--yes", "--redis", p.url)
	serve(t, fmt.Sprintf("redis: {url: %q}\nresend: {first: 2s}\nsources: [{name: files, url: %q, interval: 1s, maxDelete: 1000}]\n", p.url, p.files))
	for _, env := range []string{"edge", "lab"} {
		p.m[env], _ = startCRM(t, p.url, env, crm.Options{})
	}
	within(t, patience, "all units run", func() string { return p.wrong(t.Context()) })
	p.usual = p.remarks(t)
	return p
}

// release writes a package with another image.
func (p *patient) release(t *testing.T) {
	t.Helper()
	p.image++
	write(t, p.files, "shop.yaml", fmt.Sprintf(`name: shop
functions: [{name: f, provision: {knative: {image: "i:%d"}}}]
classes:
  - {name: P, functions: [{name: f, function: .f}]}
  - {name: C, parents: [.P]}
deployments: [{key: .C, partitionCount: 3, targetEnvs: [edge]}]
`, p.image))
}

// wrong says what is not as the files ask for: in the records, as a process reads them
// that has read nothing before; in what CRMs report, and in what they run.
func (p *patient) wrong(ctx context.Context) string {
	db, err := rdb.Open(ctx, rdb.Options{URL: p.url})
	if err != nil {
		return err.Error()
	}
	defer func() { _ = db.Close() }()
	damaged, err := db.Damage(ctx)
	if err != nil || len(damaged) > 0 {
		return fmt.Sprint(damaged, err)
	}
	live, err := db.Live(ctx)
	if err != nil {
		return err.Error()
	}
	got := map[string]string{}
	for name, rec := range live.Packages {
		got["package/"+name] = rec.Origin
	}
	for name, env := range live.Environments {
		got["environment/"+name] = fmt.Sprintf("%s %s %s", env.Origin, env.Health, core.MustCanonical(env.Spec.Capacity))
	}
	for key, d := range live.Deployments {
		got["deployment/"+key] = d.Pkg
	}
	for _, env := range []string{"edge", "lab"} {
		runs, open := ledgerRuns(ctx, db, env)
		if open != "" {
			return open
		}
		for _, line := range runs {
			got["recorded "+line] = env
		}
		for _, line := range p.m[env].runs() {
			got["runs "+line] = env
		}
	}
	classes, err := db.Classes(ctx)
	if err != nil {
		return err.Error()
	}
	for key, c := range classes {
		got["class/"+key] = fmt.Sprint(c.Resolved)
	}
	functions, err := db.Functions(ctx)
	if err != nil {
		return err.Error()
	}
	for key, f := range functions {
		got["function/"+key] = string(f.Type)
	}
	want := map[string]string{
		"package/shop": "git:files", "package/hand": "cli", "environment/edge": "git:files HEALTHY {\"units\":100}", "environment/lab": "cli HEALTHY {\"units\":100}",
		"deployment/shop.C": "shop", "deployment/hand.H": "hand",
	}
	for i := range 3 {
		for _, w := range []string{"recorded", "runs"} {
			want[fmt.Sprintf("%s shop.C/%d i:%d", w, i, p.image)] = "edge"
		}
	}
	want["recorded hand.H/0 h:1"], want["runs hand.H/0 h:1"] = "lab", "lab"
	for key, doc := range map[string]string{"class/shop.P": "map", "class/shop.C": "", "class/hand.H": "", "function/shop.f": "TASK", "function/hand.h": "TASK"} {
		if _, there := got[key]; there {
			doc = got[key]
		}
		want[key] = doc
	}
	return cmp.Diff(want, got)
}

// remarks is what doctor finds that is not in order.
func (p *patient) remarks(t *testing.T) []string {
	t.Helper()
	stdout, _, _ := oprc(t, p.home, "doctor", "--redis", p.url, "-o", "json")
	var report struct {
		Checks []struct{ Name, Status, Message string }
	}
	decodeJSON(t, stdout, &report)
	out := []string{}
	for _, c := range report.Checks {
		if c.Status != "ok" && c.Name != "dead letters" && !strings.Contains(c.Message, "was set aside") {
			out = append(out, c.Name+": "+c.Message)
		}
	}
	return out
}

// observe is what the three commands say that must not say that all is well.
func (p *patient) observe(t *testing.T) (plan, why string, remarks []string) {
	t.Helper()
	plan, more, _ := oprc(t, p.home, "plan", "-f", p.files, "--as-source", "files", "--redis", p.url)
	why, also, _ := oprc(t, p.home, "why", "shop", "--redis", p.url)
	return plan + more, why + also, p.remarks(t)
}

// healed waits until all is well again; it returns what is not.
func (p *patient) healed(t *testing.T, limit time.Duration) (is string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if is = p.wrong(t.Context()); is == "" {
			if now := p.remarks(t); !slices.Equal(now, p.usual) {
				is = strings.Join(now, "; ")
			}
		}
		if is == "" || time.Since(began) > limit {
			return is
		}
	}
}

// suffer does one damage, and checks what becomes of it.
func (p *patient) suffer(t *testing.T, key string, harm damage) {
	t.Helper()
	before, err := p.c.Dump(t.Context(), key).Result()
	if err != nil {
		t.Skipf("it is not there: %v", err) // a stream, say, that nothing is in
	}
	if err := harm.do(t.Context(), p.c, key); err != nil {
		t.Fatal(err)
	}
	if is := p.healed(t, patience); is != "" {
		plan, why, remarks := p.observe(t)
		t.Logf("not healed: %s", is)
		if strings.Contains(plan, "No changes") || !strings.Contains(why, "because") && !strings.Contains(why, "oprc why") || slices.Equal(remarks, p.usual) {
			t.Errorf("%s %s is not healed, and not named by all of\nplan: %s\nwhy: %s\ndoctor: %s\nwrong: %s", key, harm.what, plan, why, remarks, is)
		}
		if err := p.c.RestoreReplace(t.Context(), key, 0, before).Err(); err != nil {
			t.Fatal(err)
		}
	}
	p.release(t)
	within(t, patience, "the next change is carried out", func() string { return p.wrong(t.Context()) })
}

func TestEachKeyDamaged(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	var keys []string
	for each := p.c.Scan(t.Context(), 0, "*", 1000).Iterator(); each.Next(t.Context()); {
		keys = append(keys, each.Val())
	}
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		kind, err := p.c.Type(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		fields := 0
		if kind == "hash" {
			fields = int(p.c.HLen(t.Context(), key).Val())
		}
		for _, harm := range damages(kind, fields) {
			h := fnv.New32a()
			h.Write([]byte(key + " " + harm.what))
			if int(h.Sum32())%*damageShare == 0 {
				t.Run(key+" "+harm.what, func(t *testing.T) { p.suffer(t, key, harm) })
			}
		}
	}
}
