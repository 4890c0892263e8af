//go:build browser

package console_test

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

var screenshots = flag.String("screenshots", "", "write pictures into this `directory`")

//go:embed testdata/axe.min.js
var axe string

// patience is for a machine that is busy with other tests.
const patience = 2 * time.Minute

// A runtimeOf runs units, except those whose image says that it is broken.
type runtimeOf struct{}

func (runtimeOf) Deploy(_ context.Context, c crm.Command, _ crm.Reporter) (crm.State, error) {
	for _, f := range c.Unit.Functions {
		if strings.Contains(f.Image, "broken") {
			return crm.State{}, errors.New("image " + f.Image + " cannot be pulled")
		}
	}
	return crm.State{Condition: crm.Running, Replicas: []string{c.ID}}, nil
}

func (runtimeOf) Undeploy(context.Context, crm.Command) error { return nil }

// newBusyWorld is a world in which CRMs serve east and west, and nobody north.
func newBusyWorld(t *testing.T) *world {
	w := newWorld(t, closed)
	w.apply("kind: Environment\nname: west\navailability: 0.95\ncapacity: {units: 60}\n---\nkind: Environment\nname: north\navailability: 0.9\n")
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	t.Cleanup(func() { stop(); all.Wait() })
	all.Go(func() { _ = (&ingest.Ingest{Reports: w.state.DB, Consumer: "test", Now: time.Now}).Run(ctx) })
	for _, env := range []string{"east", "west"} {
		all.Go(func() {
			_ = crm.Run(ctx, crm.Options{Redis: "redis://" + w.redis, Env: env, ID: "crm-" + env, Database: "n", Topic: "t"}, runtimeOf{})
		})
	}
	w.apply(shop)
	w.apply(strings.Replace(shop, "add:1", "add:2", 1))
	w.apply(parts("billing", "example/pay:3", 6, "[east, west]"))
	w.apply(parts("media", "example/broken:1", 3, "[west]"))
	w.apply(parts("search", "example/index:2", 4, "[east, west, north]"))
	w.hold()
	return w
}

// parts is a package with three classes that are deployed.
func parts(name, image string, partitions int, envs string) string {
	out := "name: " + name + "\nversion: 2.1.0\nfunctions: [{name: run, provision: {knative: {image: '" + image + "'}}}]\nclasses:\n"
	deployments := "deployments:\n"
	for i, class := range []string{"entry", "ledger", "report"} {
		parents := ""
		if i > 0 {
			parents = ", parents: [.entry]"
		}
		out += fmt.Sprintf("- {name: %s, functions: [{function: .run}]%s}\n", class, parents)
		deployments += fmt.Sprintf("- {_key: .%s, partitionCount: %d, replicaCount: %d, targetEnvs: %s}\n", class, partitions, strings.Count(envs, ",")+1, envs)
	}
	return out + deployments
}

// hold makes a source wait for somebody to approve that a package goes.
func (w *world) hold() {
	w.t.Helper()
	p, err := w.state.Reconciler.Plan(w.t.Context(), reconcile.Request{Scope: plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"billing"}}})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.state.HoldPlan(w.t.Context(), "main", p, 0); err != nil {
		w.t.Fatal(err)
	}
	main := oprc.SourceStatus{
		Name: "main", ID: "m", URL: "https://git.example/team/packages.git", Ref: "main", Revision: strings.Repeat("3f9a", 10), Applied: strings.Repeat("81c0", 10),
		PlanID: p.ID, LastTick: time.Now(), Conditions: []oprc.SourceCondition{
			{Type: "Ready", Reason: "Held", Message: "it deletes 1 of 4 packages (billing); more than 0 need approval", Since: time.Now()},
		},
	}
	if err := w.state.PutSource(w.t.Context(), main, nil, 0); err != nil {
		w.t.Fatal(err)
	}
}

// A tab is one page of Chromium.
type tab struct {
	t   *testing.T
	w   *world
	ctx context.Context

	mu     sync.Mutex
	errors []string // on the browser's console
}

// newTab starts Chromium with one tab of nobody.
func newTab(t *testing.T, w *world) *tab {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(profile(t)), chromedp.WSURLReadTimeout(patience), chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("force-prefers-reduced-motion", true))
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("end the browser: %v", err)
		}
	})
	b := &tab{t: t, w: w, ctx: ctx}
	chromedp.ListenTarget(ctx, func(ev any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			b.errors = append(b.errors, ev.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			if ev.Entry.Level == log.LevelError || ev.Entry.Level == log.LevelWarning {
				b.errors = append(b.errors, ev.Entry.Text+" "+ev.Entry.URL)
			}
		case *runtime.EventConsoleAPICalled:
			if ev.Type == runtime.APITypeError {
				b.errors = append(b.errors, "console.error")
			}
		}
	})
	if err := chromedp.Run(ctx, log.Enable()); err != nil { // the browser lives as long as the context of this
		t.Fatal(err)
	}
	return b
}

// profile is a directory for what a browser keeps. Its processes may write there for a
// moment after it ended.
func profile(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "oprc-browser-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for deadline := time.Now().Add(patience); os.RemoveAll(dir) != nil; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Logf("%s cannot be removed", dir)
				return
			}
		}
	})
	return dir
}

func (b *tab) run(actions ...chromedp.Action) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) open(path string) { b.t.Helper(); b.run(chromedp.Navigate(b.w.url + path)) }

// text waits until an element holds a text. Between two pages there is none to ask.
func (b *tab) text(selector, want string) {
	b.t.Helper()
	asked := fmt.Sprintf("document.querySelector(%q)?.textContent.includes(%q) === true", selector, want)
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		var there bool
		err := chromedp.Run(b.ctx, chromedp.Evaluate(asked, &there))
		if there {
			return
		}
		if time.Now().After(end) {
			var all string
			_ = chromedp.Run(b.ctx, chromedp.Evaluate("location.href + document.body.innerText", &all))
			b.t.Fatalf("%s never says %q: %v\n%s", selector, want, err, all)
		}
	}
}

func (b *tab) signIn(name string) {
	b.t.Helper()
	b.open("/ui/signin")
	b.run(chromedp.SendKeys("#token", name+"\r"))
	b.text(".who", name)
}

// quiet fails if something was said on the browser's console.
func (b *tab) quiet(where string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.errors {
		b.t.Errorf("%s: on the console: %s", where, e)
	}
	b.errors = nil
}

// accessible fails for each violation that axe finds.
func (b *tab) accessible(where string) {
	b.t.Helper()
	var found []string
	b.run(chromedp.Evaluate(axe+";0", nil), chromedp.Evaluate(
		`axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.html.slice(0, 200) + " " + n.failureSummary)))`,
		&found, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	for _, f := range found {
		b.t.Errorf("%s: axe: %s", where, f)
	}
}

var sizes = map[string][2]int64{"phone": {360, 780}, "desk": {1280, 860}, "wall": {1920, 1080}}

func (b *tab) looks(size string, scheme string) {
	b.t.Helper()
	s := sizes[size]
	b.run(chromedp.EmulateViewport(s[0], s[1]), emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
}

func (b *tab) picture(name string) {
	if *screenshots == "" {
		return
	}
	var raw []byte
	b.run(chromedp.CaptureScreenshot(&raw))
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), raw, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

var pictured = map[string]string{
	"/": "overview", "/ui/topology": "topology", "/ui/packages/shop": "package", "/ui/plans": "plans", "/ui/act/approve": "approve",
}

// Every page is accessible, fits the narrowest screen, and says nothing on the browser's
// console, in light and in dark.
func TestBrowserPages(t *testing.T) {
	w := newBusyWorld(t)
	b := newTab(t, w)
	b.signIn("root")
	b.open("/ui/topology?class=billing.entry")
	b.text("main", "billing.entry")
	w.settled(b)
	held, err := w.state.DB.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := held["main"].PlanID
	pages := []string{
		"/", "/ui/topology", "/ui/topology?zoom=out", "/ui/packages", "/ui/packages/shop", "/ui/packages/shop?at=0", "/ui/packages/shop?blame=1", "/ui/classes", "/ui/classes/shop.cart",
		"/ui/functions", "/ui/functions/shop.add", "/ui/deployments", "/ui/deployments/media.entry", "/ui/placement/billing.entry", "/ui/units",
		"/ui/units/shop.cart/0/0@east", "/ui/environments", "/ui/environments/east", "/ui/crms", "/ui/crms/east/crm-east", "/ui/sources", "/ui/sources/main",
		"/ui/plans", "/ui/plans/" + id, "/ui/act/approve?plan=" + url.QueryEscape(id), "/ui/act/suspend?name=main", "/ui/act/undo?name=shop",
		"/ui/graph?package=billing&of=billing.entry", "/ui/events", "/ui/dead", "/ui/signin",
	}
	for _, scheme := range []string{"light", "dark"} {
		b.looks("desk", scheme)
		for _, page := range pages {
			b.open(page)
			b.accessible(page + " " + scheme)
			b.quiet(page + " " + scheme)
			if name := pictured[strings.SplitN(page, "?", 2)[0]]; name != "" && !strings.Contains(page, "at=") && !strings.Contains(page, "blame") && !strings.Contains(page, "zoom") {
				for size := range sizes {
					b.looks(size, scheme)
					b.picture(name + "-" + size + "-" + scheme)
				}
				b.looks("desk", scheme)
			}
		}
	}
	b.looks("phone", "light")
	for _, page := range pages {
		var wide, view int
		b.open(page)
		b.run(chromedp.Evaluate("document.documentElement.scrollWidth", &wide), chromedp.Evaluate("innerWidth", &view))
		if wide > view {
			t.Errorf("%s is %d pixels wide on a screen of %d", page, wide, view)
		}
	}
}

// settled waits until all that can run does.
func (w *world) settled(b *tab) {
	w.t.Helper()
	b.open("/ui/deployments/billing.report")
	b.text("main", "RUNNING")
	b.open("/ui/deployments/media.report")
	b.text("main", "cannot be pulled")
	b.open("/ui/deployments/shop.cart")
	b.text("main", "RUNNING")
}

// What changes is on an open page soon after the API shows it, and what was opened there
// stays open.
func TestBrowserFollows(t *testing.T) {
	w := newBusyWorld(t)
	b := newTab(t, w)
	b.signIn("ann")
	w.settled(b)
	b.open("/ui/packages/shop")
	b.run(chromedp.WaitVisible("#live.on"), chromedp.Evaluate(`document.querySelector("#spec").open = false; window.mark = 1`, nil))
	best := time.Hour
	for try := range 5 {
		best = min(best, b.followed(strings.Replace(shop, "add:1", fmt.Sprintf("add:9%d", try), 1), fmt.Sprintf("add:9%d", try)))
	}
	if best > time.Second {
		t.Errorf("the page takes %s to follow, in the best of five tries", best)
	}
	var same, open bool
	b.run(chromedp.Evaluate("window.mark === 1", &same), chromedp.Evaluate(`document.querySelector("#spec").open`, &open))
	if !same || open {
		t.Errorf("the same page: %v; the spec was opened again: %v", same, open)
	}
	b.quiet("following")
}

// followed applies a file, and returns how long after that the open page shows a word: by the
// clock of the page, which is the clock of the test. The time for which the page or the test
// stood still, because the machine was busy, does not count.
func (b *tab) followed(file, word string) time.Duration {
	b.t.Helper()
	b.run(chromedp.Evaluate(fmt.Sprintf(`
		window.seen = 0; window.lost = 0; window.last = Date.now(); clearInterval(window.pulse);
		window.pulse = setInterval(() => { const now = Date.now(); if (!seen) lost += Math.max(0, now - last - 30); last = now; }, 10);
		new MutationObserver((_, o) => {
			if (document.querySelector("#history")?.textContent.includes(%q)) { seen = Date.now(); o.disconnect(); }
		}).observe(document.body, {childList: true, subtree: true, characterData: true}); 0`, word), nil))
	ctx, stop := context.WithCancel(b.t.Context())
	still := make(chan time.Duration)
	b.w.apply(file)
	applied := time.Now()
	go func() { still <- stoodStill(ctx) }()
	b.text("#history", word)
	stop()
	var seen, lost float64
	b.run(chromedp.Evaluate("seen", &seen), chromedp.Evaluate("lost", &lost))
	took := time.UnixMilli(int64(seen)).Sub(applied).Round(time.Millisecond)
	idle := time.Duration(lost)*time.Millisecond + <-still
	b.t.Logf("the page followed after %s, for %s of which it or the test stood still", took, idle.Round(time.Millisecond))
	return took - idle
}

// stoodStill adds up for how long this process was not run until the context ends.
func stoodStill(ctx context.Context) (lost time.Duration) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for last := time.Now(); ctx.Err() == nil; last = time.Now() {
		<-tick.C
		lost += max(0, time.Since(last)-30*time.Millisecond)
	}
	return lost
}

// Each act is done as a person does it, and a viewer is refused.
func TestBrowserActs(t *testing.T) {
	w := newBusyWorld(t)
	if _, err := w.miniredis.XAdd(w.deadOf("east"), "*", []string{"stream", "reports", "id", "1-1", "reason", "no such unit", "by", "g", "ts", time.Now().UTC().Format(time.RFC3339Nano), "fields", `{"a":"b"}`, "truncated", ""}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.miniredis.XAdd(w.deadOf("east"), "*", []string{"stream", "reports", "id", "1-2", "reason", "not JSON", "by", "g", "ts", time.Now().UTC().Format(time.RFC3339Nano), "fields", `{"a":"c"}`, "truncated", ""}); err != nil {
		t.Fatal(err)
	}
	b := newTab(t, w)
	b.signIn("root")
	w.settled(b)
	act := func(page, button, done string) {
		t.Helper()
		b.open(page)
		b.run(chromedp.Click(fmt.Sprintf(`//a[contains(text(), %q)]`, button), chromedp.BySearch), chromedp.WaitVisible("#h-act"))
		if strings.HasPrefix(button, "Suspend") {
			b.run(chromedp.SendKeys("#reason", "freeze"), chromedp.SendKeys("#for", "2h"))
		}
		b.accessible(button)
		b.run(chromedp.Click("main form button"))
		b.text(".flash", done)
	}
	act("/ui/sources/main", "Suspend", "suspended")
	b.text("main", "main")
	suspended, err := w.state.DB.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	main := suspended["main"] // as its daemon would say, if there were one
	main.Suspended = &oprc.Suspension{Reason: "freeze", Author: "root"}
	if err := w.state.PutSource(t.Context(), main, nil, 0); err != nil {
		t.Fatal(err)
	}
	act("/ui/sources/main", "Resume", "resumed")
	act("/ui/sources/main", "Reconcile", "being reconciled")
	act("/ui/plans/"+main.PlanID, "Approve", "approved")
	act("/ui/packages/shop", "Undo", "restored")
	b.open("/ui/packages/shop")
	b.text("#history", "by root")
	act("/ui/dead", "Retry…", "back in their stream")
	act("/ui/dead?env=east", "Drop all", "deleted")
	b.open("/ui/events")
	b.text("main", "suspended until")
	b.open("/ui/plans")
	b.run(chromedp.SetValue("#text", "name: Bad name\nclasses: 3\n"), chromedp.Click("form .primary"))
	b.text(".findings", "E0")
	b.open("/ui/signin")
	b.mu.Lock()
	b.errors = nil // the browser reports the answer 422 itself
	b.mu.Unlock()

	b.signIn("eve")
	b.open("/ui/sources/main")
	var offered bool
	b.run(chromedp.Evaluate(`document.querySelector("main .acts a") !== null`, &offered))
	if offered {
		t.Error("a viewer is offered acts")
	}
	b.quiet("a viewer")
	res, err := chromedp.RunResponse(b.ctx, chromedp.Navigate(w.url+"/ui/act/suspend?name=main"))
	if err != nil || res.Status != http.StatusForbidden {
		t.Errorf("a viewer asks to suspend: %v, %v", res, err)
	}
	b.text("main", "needs the role approver")
}

// deadOf is the key of an environment's dead letters.
func (w *world) deadOf(env string) string { return "t.{env:" + env + "}.dead" }
