package loop_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/schema"
)

var quietLog = slog.New(slog.DiscardHandler)

// repo is a source whose revisions a test makes up.
type repo struct {
	mu      sync.Mutex
	rev     loop.Revision
	files   map[string][]oprc.File // by revision
	notes   []string
	resumed []string
	empty   string // revision without a package file
	down    error
	polls   int
}

func (r *repo) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.polls
}

func (r *repo) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = err
}

func (r *repo) Poll(context.Context, time.Time) (loop.Revision, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.polls++
	return r.rev, r.down
}

func (r *repo) Files(_ context.Context, rev loop.Revision) ([]oprc.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.empty != "" && rev.ID == r.empty {
		return nil, fmt.Errorf("no package file: %w", oprc.ErrNotFound)
	}
	return r.files[rev.ID], nil
}

// gone leaves a revision without a package file.
func (r *repo) gone(rev string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.empty = rev
}

func (r *repo) Notes() []string { return r.notes }

func (r *repo) Resume(revision string, _ bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resumed = append(r.resumed, revision)
	return nil
}

// commit makes a revision of packages, each "NAME IMAGE" or a whole document.
func (r *repo) commit(rev string, packages ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rev = loop.Revision{ID: rev, Author: "Ann"}
	if r.files == nil {
		r.files = map[string][]oprc.File{}
	}
	r.files[rev] = nil
	for _, p := range packages {
		name, image, short := strings.Cut(p, " ")
		if whole, is := strings.CutPrefix(p, "name: "); is {
			name, _, _ = strings.Cut(whole, "\n")
		}
		if short && !strings.Contains(p, "\n") {
			p = fmt.Sprintf("name: %s\nfunctions: [{name: f, provision: {docker: {image: %q}}}]\n", name, image)
		}
		r.files[rev] = append(r.files[rev], oprc.File{Path: name + ".yaml", Data: []byte(p)})
	}
}

// A daemon is a loop on one source and a real ledger.
type daemon struct {
	t    *testing.T
	db   *rdb.DB
	rec  *reconcile.Reconciler
	repo *repo
	stop func()

	redis  *miniredis.Miniredis
	loop   *loop.Loop
	store  loop.SourceStore // nil: db
	lease  loop.Lease       // nil: db
	now    func() time.Time // nil: time.Now
	others []loop.SourceConfig
	// configure changes the loop before it runs; may be nil.
	configure func(*loop.Loop)
	loads     atomic.Int64 // of files
	// settled is called with what the loop says of stored conditions; may be nil.
	settled func(loop.Step, oprc.SourceCondition)
}

// overwrite changes a package's record as a person with a Redis client could.
func (d *daemon) overwrite(name string, rec oprc.PackageRecord) {
	d.t.Helper()
	rec.Rev++
	rec.Digest = oprc.Digest(rec.Spec)
	d.redis.HSet("oaas_pm:{catalog}:packages", name, string(oprc.MustCanonical(rec)))
	d.redis.HSet("oaas_pm:{catalog}:digests", "package/"+name, fmt.Sprintf("%d %s -", rec.Rev, rec.Digest))
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	m := miniredis.RunT(t)
	db, err := rdb.Open(t.Context(), rdb.Options{URL: "redis://" + m.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	d := &daemon{t: t, db: db, repo: &repo{}, stop: func() {}, redis: m}
	load := func(files []oprc.File, strict bool, pkg string) ([]oprc.Document, oprc.Diagnostics) {
		d.loads.Add(int64(len(files)))
		return schema.Load(files, strict, pkg)
	}
	d.rec = &reconcile.Reconciler{Ledger: db, Load: load, Now: time.Now}
	return d
}

// start runs the loop, after the one that ran before it has ended.
func (d *daemon) start(change ...func(*loop.SourceConfig)) {
	d.t.Helper()
	d.stop()
	c := loop.SourceConfig{Name: "main", URL: "repo", Source: d.repo, Interval: time.Hour, Guard: plan.DefaultGuard()}
	for _, f := range change {
		f(&c)
	}
	d.loop = &loop.Loop{
		Reconciler: d.rec, Sources: append([]loop.SourceConfig{c}, d.others...), Lease: d.db, Store: d.db, Holder: "test",
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
	d.loop.Settled = d.settled
	if d.store != nil {
		d.loop.Store = d.store
	}
	if d.now != nil {
		d.loop.Now, d.rec.Now = d.now, d.now
	}
	if d.lease != nil {
		d.loop.Lease = d.lease
	}
	if d.configure != nil {
		d.configure(d.loop)
	}
	ctx, cancel := context.WithCancel(d.t.Context())
	done := make(chan error, 1)
	go func() { done <- d.loop.Run(ctx) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
	})
	d.t.Cleanup(d.stop)
}

// tick asks for a tick and returns the status with its receipt.
func (d *daemon) tick() oprc.SourceStatus {
	d.t.Helper()
	ticket, err := d.db.AskTick(d.t.Context(), "main")
	if err != nil {
		d.t.Fatal(err)
	}
	return d.receipt(ticket)
}

// receipt waits for the look that was asked for, and returns the status with it.
func (d *daemon) receipt(ticket int64) oprc.SourceStatus {
	d.t.Helper()
	for range 6000 {
		all, err := d.db.Sources(d.t.Context())
		if err != nil {
			d.t.Fatal(err)
		}
		if s, ok := all["main"]; ok && s.Receipt != nil && s.Receipt.Ticket >= ticket {
			return s
		}
		time.Sleep(20 * time.Millisecond)
	}
	d.t.Fatal("no receipt within two minutes")
	return oprc.SourceStatus{}
}

func (d *daemon) ask(r oprc.SourceRequest) {
	d.t.Helper()
	r.At = time.Now()
	if err := d.db.PutRequest(d.t.Context(), r); err != nil {
		d.t.Fatal(err)
	}
}

// images returns the image of each package that is applied.
func (d *daemon) images() map[string]string {
	d.t.Helper()
	live, err := d.db.Live(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	out := map[string]string{}
	for name, rec := range live.Packages {
		out[name] = rec.Spec.Functions[0].Provision.Image()
	}
	return out
}

func (d *daemon) wantImages(want map[string]string) {
	d.t.Helper()
	if diff := cmp.Diff(want, d.images()); diff != "" {
		d.t.Errorf("images: -want +got\n%s", diff)
	}
}

func condition(s oprc.SourceStatus, name string) oprc.SourceCondition {
	for _, c := range s.Conditions {
		if c.Type == name {
			return c
		}
	}
	return oprc.SourceCondition{}
}

func TestRewindIsSeenAcrossRestarts(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("aaa", "shop 1")
	d.start()
	if s := d.tick(); s.Applied != "aaa" || condition(s, "Rewound").Type != "" {
		t.Errorf("first revision: %+v", s)
	}
	d.repo.commit("bbb", "shop 2")
	d.repo.rev.Rewind = true
	d.repo.notes = []string{"big.yaml: too large"}
	d.start()
	s := d.tick()
	if diff := cmp.Diff([]string{"aaa"}, d.repo.resumed); diff != "" {
		t.Errorf("resumed at: -want +got\n%s", diff)
	}
	if c := condition(s, "Rewound"); !c.Status || !strings.Contains(c.Message, "bbb does not descend from aaa") {
		t.Errorf("rewound: %+v", c)
	}
	if c := condition(s, "Ready"); !c.Status || !strings.Contains(c.Message, "big.yaml: too large") {
		t.Errorf("ready: %+v", c)
	}
	d.start() // the same revision again: what is shown stays
	if s := d.tick(); !condition(s, "Rewound").Status {
		t.Errorf("after another restart: %+v", s.Conditions)
	}
	d.repo.commit("ccc", "shop 3")
	if s := d.tick(); condition(s, "Rewound").Status {
		t.Errorf("a descendant: %+v", s.Conditions)
	}
}

func TestReceipts(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(*daemon)
		want    string
	}{
		"ok":          {func(d *daemon) { d.repo.commit("a", "shop 1") }, oprc.ResultOK},
		"invalid":     {func(d *daemon) { d.repo.commit("a", "shop 1", "bad: [\n") }, oprc.ResultInvalid},
		"unreachable": {func(d *daemon) { d.repo.down = fmt.Errorf("no route") }, oprc.ResultUnreachable},
		"denied":      {func(d *daemon) { d.repo.down = fmt.Errorf("policy: %w", oprc.ErrDenied) }, oprc.ResultDenied},
		"not found":   {func(d *daemon) { d.repo.down = fmt.Errorf("branch: %w", oprc.ErrNotFound) }, oprc.ResultNotFound},
		"suspended": {func(d *daemon) {
			d.ask(oprc.SourceRequest{Verb: oprc.VerbSuspend, Name: "main", Reason: "night"})
		}, oprc.ResultSuspended},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			tc.prepare(d)
			d.start()
			if got := d.tick(); got.Receipt.Result != tc.want {
				t.Errorf("got %+v, want %s", got.Receipt, tc.want)
			}
		})
	}
}

func TestSuspensionHoldsUntilItRunsOutOrIsTakenBack(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("a", "shop 1")
	d.start()
	d.tick()
	until := time.Now().Add(1500 * time.Millisecond)
	d.ask(oprc.SourceRequest{Verb: oprc.VerbSuspend, Name: "main", Reason: "release", By: "ann", Until: until})
	d.repo.commit("b", "shop 2")
	if s := d.tick(); s.Suspended == nil || s.Suspended.Reason != "release" || s.Suspended.Author != "ann" || !s.Suspended.Until.Equal(until) {
		t.Errorf("got %+v", s.Suspended)
	}
	d.wantImages(map[string]string{"shop": "1"})
	for range 300 { // nobody asks for a tick: that it runs out is enough
		if d.images()["shop"] == "2" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	d.wantImages(map[string]string{"shop": "2"})
	events, err := d.db.Events(t.Context(), "", 100)
	if err != nil || !slices.ContainsFunc(events, func(e oprc.Event) bool { return e.Message == "the suspension by ann ran out: release" }) {
		t.Errorf("nobody is told: %v, %v", events, err)
	}
}

func TestApprovalIsForOnePlan(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("a", "one 1", "two 1", "three 1")
	strict := func(c *loop.SourceConfig) { c.Guard = plan.Guard{} }
	d.start(strict)
	d.tick()
	d.repo.commit("b", "one 1", "two 1")
	first := d.tick()
	if first.Receipt.Result != oprc.ResultHeld || first.PlanID == "" {
		t.Fatalf("got %+v", first)
	}
	d.repo.commit("c", "one 1")
	second := d.tick()
	d.ask(oprc.SourceRequest{Verb: oprc.VerbApprove, Name: "main", PlanID: first.PlanID})
	if s := d.tick(); s.Receipt.Result != oprc.ResultHeld || s.PlanID != second.PlanID {
		t.Errorf("an approval of another plan let this one through: %+v", s)
	}
	d.ask(oprc.SourceRequest{Verb: oprc.VerbApprove, Name: "main", PlanID: second.PlanID})
	if s := d.tick(); s.Receipt.Result != oprc.ResultOK || s.PlanID != "" {
		t.Errorf("approved: %+v", s)
	}
	d.wantImages(map[string]string{"one": "1"})
}

// undo puts a package back as oprc undo does.
func (d *daemon) undo(pkg, document string) {
	d.t.Helper()
	live, err := d.db.Live(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	d.ask(oprc.SourceRequest{Verb: oprc.VerbQuarantine, Name: pkg, Digest: live.Packages[pkg].Digest})
	req := reconcile.Request{Files: []oprc.File{{Path: "undo", Data: []byte(document)}}, Scope: plan.Scope{Origin: "git:main"}}
	if _, err := d.rec.Apply(d.t.Context(), req, reconcile.Conditions{AnyRemovals: true}, reconcile.Actor{Name: "ann"}); err != nil {
		d.t.Fatal(err)
	}
}

func TestQuarantineLastsUntilThePackageChanges(t *testing.T) {
	const good = "name: shop\nfunctions: [{name: f, provision: {docker: {image: good}}}]\n"
	d := newDaemon(t)
	d.repo.commit("a", "shop good", "other 1")
	d.start()
	d.tick()
	d.repo.commit("b", "shop bad", "other 1")
	d.tick()
	d.undo("shop", good)
	d.tick()
	d.wantImages(map[string]string{"shop": "good", "other": "1"})

	d.repo.commit("c", "shop bad", "other 2") // another package moves: the bad one stays away
	if s := d.tick(); !cmp.Equal(s.Quarantined, []string{"shop"}) || s.Receipt.Result != oprc.ResultOK {
		t.Errorf("got %+v", s)
	}
	d.wantImages(map[string]string{"shop": "good", "other": "2"})

	d.repo.commit("d", "name: shop\nfunctions: [{name: f, type: NONSENSE}]\n", "other 2")
	d.tick() // what is refused ends no quarantine
	d.repo.commit("e", "shop bad", "other 2")
	d.tick()
	d.wantImages(map[string]string{"shop": "good", "other": "2"})

	d.repo.commit("f", "shop better", "other 2")
	if s := d.tick(); len(s.Quarantined) > 0 {
		t.Errorf("still quarantined: %v", s.Quarantined)
	}
	d.wantImages(map[string]string{"shop": "better", "other": "2"})
	d.repo.commit("g", "shop bad", "other 2") // it is over: this is a new decision
	d.tick()
	d.wantImages(map[string]string{"shop": "bad", "other": "2"})
}
