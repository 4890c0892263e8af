package e2e_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// Two writers at once, as people have them: two `oprc apply`, two POSTs. What is left has
// to be what one of them after the other would have left; what that is, the same program
// shows on a ledger of its own.

var pairs = flag.Int("pairs", 1, "pairs of each relation for TestTwoAtOnce")

// A skew is a world and two changes of it, each of which is right by itself.
type skew struct{ base, a, b string }

const library = `name: b
version: %s
functions:
  - {name: f, provision: {knative: {image: "%s"}}%s}
  - {name: g, type: LOGICAL}
classes:
  - name: P
    functions:
      - {name: f, function: .f}
%s`

const (
	bindsG   = "      - {name: g, function: .g}\n"
	privateG = "      - {name: g, function: .g, access: PRIVATE}\n"
	here     = "kind: Environment\nname: e\ndefault: true\n"
)

func skews() map[string]skew {
	lib := func(version, image, state, g string) string { return fmt.Sprintf(library, version, image, state, g) }
	plain := lib("1.0.0", "i:1", "", bindsG)
	base := here + "---\n" + plain
	deployed := "deployments: [{key: .C, targetEnvs: [e]}]\n"
	child := "name: a\nclasses: [{name: C, parents: [b.P]}]\n" + deployed
	return map[string]skew{
		"binding dropped, macro calls it": {
			base, lib("1.0.0", "i:1", "", ""),
			"name: a\nfunctions: [{name: m, type: MACRO, macro: {steps: [{function: g, target: \"@\", as: x}], output: x}}]\n" +
				"classes: [{name: C, parents: [b.P], functions: [{name: m, function: .m}]}]\n" + deployed,
		},
		"version 2, required ^1":   {base, lib("2.0.0", "i:1", "", bindsG), "name: a\nrequired: [\"b@^1\"]\nclasses: [{name: C}]\n" + deployed},
		"image, bound elsewhere":   {base, lib("1.0.0", "i:2", "", bindsG), "name: a\nclasses: [{name: C, functions: [{name: f, function: b.f}]}]\n" + deployed},
		"disabled, inherited":      {base, lib("1.0.0", "i:1", ", state: DISABLED", bindsG), child},
		"private, inherited":       {base, lib("1.0.0", "i:1", "", privateG), child},
		"capacity of one":          {here + "capacity: {units: 1}\n", "name: a\nclasses: [{name: C}]\n" + deployed, "name: c\nclasses: [{name: C}]\n" + deployed},
		"two default environments": {"kind: Environment\nname: x\n", "kind: Environment\nname: y\ndefault: true\n", "kind: Environment\nname: z\ndefault: true\n"},
	}
}

// world is what can be seen of a ledger, without what counts writes and tells time.
func world(t *testing.T, home, redis string) string {
	t.Helper()
	var out []string
	for _, kind := range []string{"environments", "packages", "classes", "functions", "deployments", "units"} {
		text := expect(t, 0, home, "get", kind, "-o", "json", "--redis", redis)
		var doc any
		decodeJSON(t, text, &doc)
		forget(doc)
		raw, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, kind+" "+string(raw))
	}
	return strings.Join(out, "\n")
}

// forget drops what differs between two ledgers that are the same.
func forget(doc any, more ...string) {
	switch v := doc.(type) {
	case map[string]any:
		for _, key := range append(more, "rev", "_rev", "generation", "appliedAt", "appliedBy", "dispatchedAt", "revision", "source", "id", "planId", "resourceVersion", "metadata", "origin") {
			delete(v, key)
		}
		for _, e := range v {
			forget(e, more...)
		}
	case []any:
		for _, e := range v {
			forget(e, more...)
		}
	}
}

// write writes a document to a file of its own.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// An ending is how a pair of writers can end: their exit codes, and the world.
type ending struct {
	a, b  int
	world string
}

func (s skew) serially(t *testing.T, url string) []ending {
	t.Helper()
	var out []ending
	for order := range 2 {
		dir := t.TempDir()
		clear(t, url)
		e := ending{}
		expect(t, 0, dir, "apply", "-f", write(t, dir, "base.yaml", s.base), "--redis", url)
		a := func() { _, _, e.a = oprc(t, dir, "apply", "-f", write(t, dir, "a.yaml", s.a), "--redis", url) }
		b := func() { _, _, e.b = oprc(t, dir, "apply", "-f", write(t, dir, "b.yaml", s.b), "--redis", url) }
		if order == 0 {
			a()
			b()
		} else {
			b()
			a()
		}
		e.world = world(t, dir, url)
		out = append(out, e)
	}
	return out
}

// clear empties a Redis.
func clear(t *testing.T, url string) {
	t.Helper()
	c := rdbtest.Client(t, url)
	rdbtest.Flush(t, c)
}

func (e ending) String() string { return fmt.Sprintf("exit codes %d and %d\n%s", e.a, e.b, e.world) }

func TestTwoAtOnce(t *testing.T) {
	for name, s := range skews() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, dir := rdbtest.Server(t), t.TempDir()
			right := s.serially(t, url)
			for i := range *pairs {
				clear(t, url)
				expect(t, 0, dir, "apply", "-f", write(t, dir, "base.yaml", s.base), "--redis", url)
				a, b := write(t, dir, "a.yaml", s.a), write(t, dir, "b.yaml", s.b)
				var got ending
				var both sync.WaitGroup
				both.Go(func() { _, _, got.a = oprc(t, dir, "apply", "-f", a, "--redis", url) })
				both.Go(func() { _, _, got.b = oprc(t, dir, "apply", "-f", b, "--redis", url) })
				both.Wait()
				if got.world = world(t, dir, url); !slices.Contains(right, got) {
					t.Fatalf("pair %d: got %s\none after the other:\n%s\nor\n%s", i, got, right[0], right[1])
				}
			}
		})
	}
}

// Saved plans made on one base: the second is applied only where it still decides the same.
func TestTwoSavedPlans(t *testing.T) {
	for name, s := range skews() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, dir := rdbtest.Server(t), t.TempDir()
			for order := range 2 {
				clear(t, url)
				expect(t, 0, dir, "apply", "-f", write(t, dir, "base.yaml", s.base), "--redis", url)
				plans := []string{filepath.Join(dir, "p0"), filepath.Join(dir, "p1")}
				for i, text := range []string{s.a, s.b} {
					file := write(t, dir, fmt.Sprintf("%d.yaml", i), text)
					expect(t, 0, dir, "plan", "-f", file, "--redis", url, "--out", plans[i])
				}
				expect(t, 0, dir, "apply", plans[order], "--redis", url)
				alone := world(t, dir, url)
				_, stderr, code := oprc(t, dir, "apply", plans[1-order], "--redis", url)
				if code != 4 && code != 3 {
					t.Errorf("order %d: the second plan: exit code %d, want 4, or 3 for one that is invalid by now: %s", order, code, stderr)
				}
				if got := world(t, dir, url); got != alone {
					t.Errorf("order %d: the refused plan changed something: got %s\nwant %s", order, got, alone)
				}
			}
		})
	}
}

// The same over REST, which knows packages alone.
func TestTwoPostsAtOnce(t *testing.T) {
	url, home := rdbtest.Server(t), t.TempDir()
	expect(t, 0, home, "apply", "-f", write(t, home, "e.yaml", here), "--redis", url)
	d := serve(t, fmt.Sprintf("redis: {url: %q}\n", url))
	for name, s := range skews() {
		base, packages := strings.CutPrefix(s.base, here+"---\n")
		if !packages {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			label := strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'z' {
					return r
				}
				return -1
			}, name)
			var right []string
			for order := range 2 {
				p := posted{t, d, fmt.Sprintf("%ss%d", label, order)}
				p.send(base)
				if order == 0 {
					a := p.send(s.a)
					right = append(right, p.ending(a, p.send(s.b)))
				} else {
					b := p.send(s.b)
					right = append(right, p.ending(p.send(s.a), b))
				}
			}
			for i := range 5 * *pairs {
				p := posted{t, d, fmt.Sprintf("%sp%d", label, i)}
				p.send(base)
				var a, b int
				var both sync.WaitGroup
				both.Go(func() { a = p.send(s.a) })
				both.Go(func() { b = p.send(s.b) })
				both.Wait()
				if got := p.ending(a, b); !slices.Contains(right, got) {
					t.Fatalf("pair %d: got %s\none after the other:\n%s\nor\n%s", i, got, right[0], right[1])
				}
			}
		})
	}
}

// posted is a pair's world on a server that all pairs share: its packages carry a label.
type posted struct {
	t     *testing.T
	d     *daemonProcess
	label string
}

// send posts a package under the pair's label, and returns the status.
func (p posted) send(text string) int {
	named := strings.NewReplacer(
		"name: a\n", "name: a"+p.label+"\n", "name: b\n", "name: b"+p.label+"\n", "b@", "b"+p.label+"@", "b.f", "b"+p.label+".f", "b.P", "b"+p.label+".P",
	).Replace(text)
	res, err := http.Post("http://"+p.d.addr+"/api/packages", "application/yaml", strings.NewReader(named))
	if err != nil {
		p.t.Error(err)
		return 0
	}
	_ = res.Body.Close()
	if res.StatusCode == http.StatusCreated {
		return http.StatusOK // who came first is not the question
	}
	return res.StatusCode
}

// ending is how the pair ended, and what can be seen of its world.
func (p posted) ending(a, b int) string {
	out := []string{fmt.Sprintf("answers %d and %d", a, b)}
	for _, path := range []string{"packages/b*", "packages/a*", "classes/b*.P", "classes/a*.C", "functions/b*.f", "deployments/a*.C"} {
		path = strings.Replace(path, "*", p.label, 1)
		res, err := http.Get("http://" + p.d.addr + "/api/" + path)
		if err != nil {
			p.t.Fatal(err)
		}
		var doc any
		err = json.NewDecoder(res.Body).Decode(&doc)
		_ = res.Body.Close()
		if err != nil {
			p.t.Fatal(path, err)
		}
		if res.StatusCode == http.StatusNotFound {
			doc = "not there"
		}
		forget(doc, "digest", "specHash") // the label is in them
		raw, err := json.Marshal(doc)
		if err != nil {
			p.t.Fatal(err)
		}
		out = append(out, strings.ReplaceAll(string(raw), p.label, "*"))
	}
	return strings.Join(out, "\n")
}

// Fifty writers of one package, a daemon beside them: all succeed, each is in its history,
// the last is live, and runs.
func TestFiftyWritersOfOnePackage(t *testing.T) {
	url, dir := rdbtest.Server(t), t.TempDir()
	serve(t, fmt.Sprintf("redis: {url: %q}\n", url))
	expect(t, 0, dir, "apply", "-f", write(t, dir, "e.yaml", here), "--redis", url)
	const writers = 50
	codes := make([]int, writers)
	var all sync.WaitGroup
	for i := range writers {
		file := write(t, dir, fmt.Sprintf("%d.yaml", i), fmt.Sprintf(`name: shop
functions: [{name: f, provision: {knative: {image: "i:%d"}}}]
classes: [{name: C, functions: [{name: f, function: .f}]}]
deployments: [{key: .C, targetEnvs: [e]}]
`, i))
		all.Go(func() { _, _, codes[i] = oprc(t, dir, "apply", "-f", file, "--redis", url) })
	}
	all.Wait()
	for i, code := range codes {
		if code != 0 {
			t.Errorf("writer %d: exit code %d", i, code)
		}
	}
	var history struct {
		Items []struct {
			Rev    int64  `json:"rev"`
			Digest string `json:"digest"`
			Action string `json:"action"`
		} `json:"items"`
	}
	decodeJSON(t, expect(t, 0, dir, "history", "shop", "--limit", "100", "-o", "json", "--redis", url), &history)
	for i := len(history.Items) - 1; i >= 0; i-- { // the daemon may finish what a writer is about to send
		if history.Items[i].Action == "move" {
			history.Items = slices.Delete(history.Items, i, i+1)
		}
	}
	if len(history.Items) != writers {
		t.Fatalf("history has %d entries, want %d", len(history.Items), writers)
	}
	var live struct {
		Digest string `json:"digest"`
		Rev    int64  `json:"rev"`
	}
	decodeJSON(t, expect(t, 0, dir, "get", "package", "shop", "-o", "json", "--redis", url), &live)
	if last := history.Items[0]; live.Rev != writers || last.Rev != writers || live.Digest != last.Digest {
		t.Errorf("live is %+v, the last entry of the history %+v, want both of revision %d", live, last, writers)
	}
	image := func(kind string) string {
		_, after, _ := strings.Cut(expect(t, 0, dir, "get", kind, "-o", "json", "--redis", url), `"image": "`)
		image, _, _ := strings.Cut(after, `"`)
		return image
	}
	if unit, function := image("units"), image("functions"); unit != function || unit == "" {
		t.Errorf("the unit runs %q, the function's image is %q", unit, function)
	}
}
