package e2e_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	core "github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

const (
	forgedBase = `kind: Environment
name: e
default: true
availability: 0.99
---
kind: Environment
name: away
availability: 0.99
---
kind: Environment
name: unrelated
labels: {team: a}
---
name: lib
functions: [{name: f, provision: {knative: {image: "lib:1"}}}]
classes: [{name: P, functions: [{name: f, function: .f}]}]
---
name: other
classes: [{name: K, parents: [lib.P]}]
deployments: [{key: .K, targetEnvs: [e]}]
---
name: shop
functions: [{name: f, provision: {knative: {image: "shop:1"}}}, {name: old, type: LOGICAL}]
classes: [{name: C, functions: [{name: f, function: .f}]}]
deployments: [{key: .C, targetEnvs: [e]}]
`
	// forgedNext deletes a function, and warns of one that no class binds.
	forgedNext = `name: shop
functions: [{name: f, provision: {knative: {image: "shop:2"}}}, {name: new, type: LOGICAL}]
classes: [{name: C, functions: [{name: f, function: .f}]}]
deployments: [{key: .C, targetEnvs: [e]}]
`
)

// A planDoc is the JSON of a saved plan, taken apart to be forged.
type planDoc map[string]any

func (d planDoc) in(path ...string) map[string]any {
	at := map[string]any(d)
	for _, name := range path {
		at, _ = at[name].(map[string]any)
	}
	return at
}

func (d planDoc) changes() []any {
	all, _ := d.in("plan")["changes"].([]any)
	return all
}

// change is the change of an object.
func (d planDoc) change(t *testing.T, kind, key string) map[string]any {
	t.Helper()
	for _, c := range d.changes() {
		if c, is := c.(map[string]any); is && c["kind"] == kind && c["key"] == key {
			return c
		}
	}
	t.Fatalf("the plan has no change of %s %s", kind, key)
	return nil
}

// drop removes the change of an object.
func (d planDoc) drop(t *testing.T, kind, key string) {
	t.Helper()
	gone := d.change(t, kind, key)
	d.in("plan")["changes"] = slices.DeleteFunc(d.changes(), func(c any) bool {
		of, _ := c.(map[string]any)
		return of["kind"] == gone["kind"] && of["key"] == gone["key"]
	})
}

// add adds the deletion of an object, as a plan would have it.
func (d planDoc) add(kind, key, pkg string, before any) {
	d.in("plan")["changes"] = append(d.changes(), map[string]any{
		"kind": kind, "key": key, "package": pkg, "actions": []any{"delete"}, "reason": "removed", "before": before,
	})
}

// swap replaces text in all documents that are asked for.
func (d planDoc) swap(t *testing.T, from, to string) {
	t.Helper()
	files, _ := d.in("request")["files"].([]any)
	for _, f := range files {
		f, _ := f.(map[string]any)
		coded, _ := f["Data"].(string)
		text, err := base64.StdEncoding.DecodeString(coded)
		if err != nil || !bytes.Contains(text, []byte(from)) {
			t.Fatalf("%q is not in the plan's documents (%v)", from, err)
		}
		f["Data"] = bytes.ReplaceAll(text, []byte(from), []byte(to))
	}
}

// swapDecided replaces text in what the decision says objects will be.
func (d planDoc) swapDecided(t *testing.T, from, to string) {
	t.Helper()
	swapped := false
	for _, c := range d.changes() {
		c, _ := c.(map[string]any)
		was := string(core.MustCanonical(c["after"]))
		if now := strings.ReplaceAll(was, from, to); now != was {
			c["after"], swapped = parsePlan(t, []byte(now)), true
		}
	}
	if !swapped {
		t.Fatalf("%q is not in the plan's decision", from)
	}
}

func parsePlan(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	var doc map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// sealPlan makes the digests of changes those of their documents again, and with them
// the plan's id, as internal/plan does.
func (d planDoc) sealPlan() {
	p := d.in("plan")
	var changes, findings []any
	for _, c := range d.changes() {
		c, _ := c.(map[string]any)
		for doc, digest := range map[string]string{"before": "beforeDigest", "after": "afterDigest"} {
			if c[doc] != nil {
				c[digest] = core.Digest(c[doc])
			}
		}
		text := func(name string) string { s, _ := c[name].(string); return s }
		changes = append(changes, map[string]any{
			"object": text("kind") + "/" + text("key"), "actions": c["actions"], "reason": c["reason"], "package": text("package"),
			"was": text("beforeDigest"), "will": text("afterDigest"),
		})
	}
	all, _ := p["diagnostics"].([]any)
	for _, f := range all {
		f, _ := f.(map[string]any)
		text := func(name string) string { s, _ := f[name].(string); return s }
		findings = append(findings, map[string]any{
			"code": f["code"], "severity": f["severity"], "package": text("package"), "pointer": text("pointer"), "message": text("message"),
		})
	}
	p["planId"] = core.Digest(map[string]any{
		"desired": p["desired"], "scope": p["scope"], "changes": changes, "findings": findings, "kept": p["kept"], "conflicts": p["conflicts"],
	})
}

// A forger knows a world, a plan that was saved of it, and how to seal one.
type forger struct {
	t         *testing.T
	url, home string
	genuine   []byte
	id        string // of the genuine plan
}

func (f *forger) run(args ...string) (string, int) {
	f.t.Helper()
	_, stderr, code := oprc(f.t, f.home, append(args, "--redis", f.url)...)
	return stderr, code
}

func (f *forger) must(args ...string) string {
	f.t.Helper()
	return expect(f.t, 0, f.home, append(args, "--redis", f.url)...)
}

// save plans what text says.
func (f *forger) save(text string) {
	f.t.Helper()
	file := filepath.Join(f.home, "next.plan")
	f.must("plan", "-f", write(f.t, f.home, "next.yaml", text), "--out", file)
	raw, err := os.ReadFile(file)
	if err != nil {
		f.t.Fatal(err)
	}
	f.genuine = raw
	f.id, _ = f.open().in("plan")["planId"].(string)
}

func (f *forger) open() planDoc {
	f.t.Helper()
	return planDoc(parsePlan(f.t, f.genuine)).in("planFile")
}

// seal writes a plan file whose checksums are right.
func (f *forger) seal(doc planDoc, key ed25519.PrivateKey) string {
	f.t.Helper()
	raw, err := plan.Seal("planFile", doc, key)
	if err != nil {
		f.t.Fatal(err)
	}
	return write(f.t, f.home, "forged.plan", string(raw))
}

// recorded is all that the ledger holds, read behind the program's back, but for what it
// notes of the environments that it sees.
func (f *forger) recorded() map[string]string {
	f.t.Helper()
	c := rdbtest.Client(f.t, f.url)
	keys, err := c.Keys(f.t.Context(), "*").Result()
	if err != nil {
		f.t.Fatal(err)
	}
	out := map[string]string{}
	for _, key := range keys {
		if strings.HasSuffix(key, "}:observed") || strings.HasSuffix(key, "}:version") || strings.HasSuffix(key, "}:crms") {
			continue
		}
		out[key] = f.dump(c, key)
	}
	return out
}

func (f *forger) dump(c redis.UniversalClient, key string) string {
	f.t.Helper()
	kind, err := c.Type(f.t.Context(), key).Result()
	if err != nil {
		f.t.Fatal(err)
	}
	if kind == "hash" { // of which the fields have no order
		all, err := c.HGetAll(f.t.Context(), key).Result()
		if err != nil {
			f.t.Fatal(err)
		}
		if strings.HasSuffix(key, "}:index") {
			delete(all, "version") // follows that of the catalogue
		}
		return string(core.MustCanonical(all))
	}
	raw, err := c.Dump(f.t.Context(), key).Result()
	if err != nil {
		f.t.Fatal(err)
	}
	return raw
}

// refused applies a plan, consenting to everything, and expects it to be refused for a
// reason that says each of the words, with nothing written.
func (f *forger) refused(code int, words []string, args ...string) {
	f.t.Helper()
	before := f.recorded()
	stderr, got := f.run(append([]string{"apply", "--yes"}, args...)...)
	if got != code {
		f.t.Errorf("exit code %d, want %d: %s", got, code, stderr)
	}
	for _, word := range words {
		if !strings.Contains(stderr, word) {
			f.t.Errorf("the reason does not say %q: %s", word, stderr)
		}
	}
	after := f.recorded()
	maps.DeleteFunc(after, func(key, now string) bool { return before[key] == now && before[key] != "" })
	for key := range after {
		f.t.Errorf("it was refused, and yet %s is another", key)
	}
	for key := range before {
		if c := rdbtest.Client(f.t, f.url); c.Exists(f.t.Context(), key).Val() == 0 {
			f.t.Errorf("it was refused, and yet %s is gone", key)
		}
	}
}

// beat makes an environment's CRM heard of, at a time and with an availability.
func (f *forger) beat(env string, ago time.Duration, availability float64) {
	f.t.Helper()
	db, err := rdb.Open(f.t.Context(), rdb.Options{URL: f.url})
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	rdbtest.Client(f.t, f.url).Del(f.t.Context(), "oaas_pm:{env:"+env+"}:crms") // of two heartbeats the later one stays
	at := time.Now().Add(-ago)
	if err := db.Heartbeat(f.t.Context(), env, []core.Heartbeat{{CRM: "crm", Time: at, Since: at, Availability: availability}}); err != nil {
		f.t.Fatal(err)
	}
}

// Whoever forges a plan file makes its checksums right, too. It is refused all the same:
// what is carried out is derived again, not read.
func TestForgedPlanFiles(t *testing.T) {
	f := &forger{t: t, url: rdbtest.Server(t), home: t.TempDir()}
	f.must("apply", "-f", write(t, f.home, "base.yaml", forgedBase))
	f.save(forgedNext)
	same := f.open()
	same.sealPlan()
	if got := same.in("plan")["planId"]; got != f.id {
		t.Fatalf("the test does not make ids as the program does: %v, want %s", got, f.id)
	}
	foreign := map[string]any{"id": "other.K/0/0@e"}
	for name, c := range map[string]struct {
		forge func(*testing.T, planDoc)
		code  int
		words []string
	}{
		"foreign image": {
			func(t *testing.T, d planDoc) { d.swapDecided(t, "shop:2", "evil:1") },
			4,
			[]string{"function/shop.f", "unit/shop.C/0/0@e"},
		},
		"undeploy of another package": {
			func(_ *testing.T, d planDoc) { d.add("unit", "other.K/0/0@e", "other", foreign) },
			4,
			[]string{"unit/other.K/0/0@e"},
		},
		"deletion left out": {
			func(t *testing.T, d planDoc) { d.drop(t, "function", "shop.old") },
			4,
			[]string{"function/shop.old"},
		},
		"deletion that leaves orphans": {
			func(_ *testing.T, d planDoc) { d.add("package", "lib", "lib", map[string]any{"name": "lib"}) },
			4,
			[]string{"package/lib"},
		},
		"deletion that leaves orphans, asked for": {
			func(_ *testing.T, d planDoc) {
				d.in("request", "scope")["delete"] = []any{"lib"}
				d.in("plan", "scope")["delete"] = []any{"lib"}
				d.add("package", "lib", "lib", map[string]any{"name": "lib"})
			},
			4,
			[]string{"lib"},
		},
		"origin of a source": {
			func(_ *testing.T, d planDoc) {
				d.in("request", "scope")["origin"], d.in("plan", "scope")["origin"] = "git:x", "git:x"
			},
			9,
			[]string{"git:x"},
		},
		"origin in the decision": {
			func(_ *testing.T, d planDoc) { d.in("plan", "scope")["origin"] = "git:x" },
			4,
			[]string{"scope", "git:x"},
		},
		"scope widened": {
			func(_ *testing.T, d planDoc) {
				d.in("request", "scope")["complete"], d.in("plan", "scope")["complete"] = true, true
			},
			9,
			[]string{"all of cli"},
		},
		"ownership taken": {
			func(_ *testing.T, d planDoc) {
				d.in("request", "scope")["takeOwnership"], d.in("plan", "scope")["takeOwnership"] = true, true
			},
			4,
			[]string{"request", "something else"},
		},
		"ownership taken in the request": {
			func(_ *testing.T, d planDoc) { d.in("request", "scope")["takeOwnership"] = true },
			4,
			[]string{"scope", "takeOwnership"},
		},
		"another ledger named": {
			func(_ *testing.T, d planDoc) { d.in("plan")["ledger"] = "ANOTHER" },
			4,
			[]string{"another ledger", "ANOTHER"},
		},
		"no ledger named": {
			func(_ *testing.T, d planDoc) { delete(d.in("plan"), "ledger") },
			4,
			[]string{"ledger"},
		},
		"other documents": {
			func(t *testing.T, d planDoc) { d.swap(t, "shop:2", "evil:1") },
			4,
			[]string{"function/shop.f", "unit/shop.C/0/0@e"},
		},
		"other documents, nothing else to do": {
			func(t *testing.T, d planDoc) { d.swap(t, "\nclasses", "\ndisabled: true\nclasses") },
			4,
			[]string{"shop"},
		},
		"other decision": {
			func(t *testing.T, d planDoc) { d.change(t, "unit", "shop.C/0/0@e")["reason"] = "placement" },
			4,
			[]string{"unit/shop.C/0/0@e", "placement"},
		},
		"another package's change": {
			func(t *testing.T, d planDoc) { d.change(t, "function", "shop.new")["package"] = "other" },
			4,
			[]string{"function/shop.new"},
		},
		"findings left out": {
			func(_ *testing.T, d planDoc) { d.in("plan")["diagnostics"] = []any{} },
			4,
			[]string{"found now", "W104"},
		},
		"finding made harmless": {
			func(_ *testing.T, d planDoc) {
				all, _ := d.in("plan")["diagnostics"].([]any)
				all[0].(map[string]any)["severity"] = "info"
			},
			4,
			[]string{"W104", "info", "warning"},
		},
		"package kept back": {
			func(_ *testing.T, d planDoc) { d.in("plan")["kept"] = []any{"other"} },
			4,
			[]string{"kept", "other"},
		},
		"conflict hidden": {
			func(_ *testing.T, d planDoc) { d.in("plan")["conflicts"] = []any{"package/lib: owned by git:x"} },
			4,
			[]string{"package/lib"},
		},
		"desired of another plan": {
			func(_ *testing.T, d planDoc) { d.in("plan")["desired"] = core.Digest("x") },
			4,
			[]string{"request", "something else"},
		},
		"packages that are broken kept back": {
			func(_ *testing.T, d planDoc) { d.in("request")["keepGoing"] = true },
			4,
			[]string{"request", "something else"},
		},
		"a later format": {
			func(_ *testing.T, d planDoc) { d["formatVersion"] = "3.0" },
			3,
			[]string{"3.0", "2.x", "plan again"},
		},
		"an older format": {
			func(_ *testing.T, d planDoc) { d["formatVersion"] = "1.0" },
			3,
			[]string{"1.0", "2.x", "plan again"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := *f
			f.t = t
			doc := f.open()
			c.forge(t, doc)
			doc.sealPlan()
			f.refused(c.code, c.words, f.seal(doc, nil))
		})
	}

	t.Run("id of another plan", func(t *testing.T) {
		f := *f
		f.t = t
		doc := f.open()
		f.save(strings.ReplaceAll(forgedNext, "shop:2", "shop:3"))
		doc.in("plan")["planId"] = f.id
		f.refused(3, []string{"modified", f.id}, f.seal(doc, nil))
		doc["plan"] = f.open()["plan"] // all of it
		f.refused(4, []string{"function/shop.f", "unit/shop.C/0/0@e"}, f.seal(doc, nil))
	})
	t.Run("signature", func(t *testing.T) { f.signatures(t) })
	t.Run("consent", func(t *testing.T) {
		f := *f
		f.t = t
		file := f.seal(f.open(), nil)
		if stderr, code := f.run("apply", file); code != 5 || !strings.Contains(stderr, "function shop.old") || !strings.Contains(stderr, "--yes") {
			t.Errorf("exit code %d, want 5 with what is deleted and the way out: %s", code, stderr)
		}
		f.must("apply", "--yes", file)
	})
}

// signatures forges who approved a plan.
func (f *forger) signatures(t *testing.T) {
	g := *f
	g.t = t
	approvedBy, mine, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, strangers, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(approvedBy)
	if err != nil {
		t.Fatal(err)
	}
	key := write(t, g.home, "approver.pub", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	g.refused(3, []string{"not signed"}, g.seal(g.open(), nil), "--verify-key", key)
	stranger := g.seal(g.open(), strangers)
	g.refused(3, []string{"another key"}, stranger, "--verify-key", key)

	// The approver's name under the stranger's signature, and the approver's signature of
	// another plan.
	read := func(file string) planDoc {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return parsePlan(t, raw)
	}
	named := read(stranger)
	named.in("signature")["publicKey"] = []byte(approvedBy)
	g.refused(3, []string{"signature", "does not match"}, write(t, g.home, "forged.plan", string(core.MustCanonical(named))), "--verify-key", key)
	forged := g.open()
	forged.swap(t, "shop:2", "evil:1")
	moved := read(g.seal(forged, mine))
	moved["signature"] = read(g.seal(g.open(), mine))["signature"]
	g.refused(3, []string{"signature", "does not match"}, write(t, g.home, "forged.plan", string(core.MustCanonical(moved))), "--verify-key", key)
	g.refused(3, []string{"signature", "does not match"}, filepath.Join(g.home, "forged.plan"))
}

// A plan that nobody forged is refused where the world is another by now, and applied
// where what moved does not matter to it.
func TestPlanFilesOfAnotherWorld(t *testing.T) {
	f := &forger{t: t, url: rdbtest.Server(t), home: t.TempDir()}
	base := write(t, f.home, "base.yaml", forgedBase)
	file := filepath.Join(f.home, "next.plan")
	c := rdbtest.Client(t, f.url)
	begin := func(t *testing.T) *forger {
		rdbtest.Flush(t, c)
		g := &forger{t: t, url: f.url, home: f.home}
		g.must("apply", "-f", base)
		return g
	}
	t.Run("another database", func(t *testing.T) {
		g := begin(t)
		g.save(forgedNext)
		g.url = strings.TrimSuffix(f.url, "/0") + "/1"
		g.must("apply", "-f", base)
		g.refused(4, []string{"another ledger"}, file)
		doc := g.open()
		delete(doc.in("plan"), "ledger")
		g.refused(4, []string{"ledger"}, g.seal(doc, nil))
	})
	t.Run("after FLUSHALL", func(t *testing.T) {
		g := begin(t)
		g.save(forgedNext)
		rdbtest.Flush(t, c)
		g.must("apply", "-f", base)
		g.refused(4, []string{"another ledger"}, file)
	})
	t.Run("emptied", func(t *testing.T) {
		g := begin(t)
		g.save(forgedNext)
		rdbtest.Flush(t, c)
		_, code := g.run("apply", "--yes", file)
		if keys := g.recorded(); code != 4 || len(keys) > 1 { // who opens a ledger gives it its identity
			t.Errorf("exit code %d, want 4; it holds %d keys", code, len(keys))
		}
	})
	const available = "name: shop\nclasses: [{name: C, qos: {availability: 0.98}}]\ndeployments: [{key: .C, targetEnvs: [e, away]}]\n"
	t.Run("environment is down", func(t *testing.T) {
		g := begin(t)
		g.beat("e", 0, 0)
		g.save(available)
		g.beat("e", 5*time.Minute, 0)
		g.refused(4, []string{"environment/e", "HEALTHY", "DOWN"}, file)
	})
	t.Run("availability fell", func(t *testing.T) {
		g := begin(t)
		g.beat("e", 0, 0.99)
		g.save(available)
		g.beat("e", 0, 0.75)
		g.refused(4, []string{"environment/e", "0.99", "0.75"}, file)
	})
	t.Run("declared availability fell", func(t *testing.T) {
		g := begin(t)
		g.save(available)
		g.must("apply", "-f", write(t, g.home, "e.yaml", "kind: Environment\nname: e\ndefault: true\navailability: 0.75\n"))
		g.refused(4, []string{"environment/e: revision 1, now 2"}, file)
	})
	t.Run("policy added", func(t *testing.T) {
		g := begin(t)
		g.save(forgedNext)
		deny := write(t, g.home, "keep.cue", "input: _\ndeny: [if input.kind == \"function\" if input.after == null {\"\\(input.key) stays\"}]\n")
		g.refused(9, []string{"shop.old stays", "keep.cue"}, file, "--policy", deny)
	})
	t.Run("label of an unrelated environment", func(t *testing.T) {
		g := begin(t)
		g.save(forgedNext)
		g.must("apply", "-f", write(t, g.home, "u.yaml", "kind: Environment\nname: unrelated\nlabels: {team: b}\n"))
		g.beat("unrelated", 5*time.Minute, 0.1)
		g.must("apply", "--yes", file)
	})
}
