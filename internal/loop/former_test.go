package loop_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

func (d *daemon) steering() reconcile.Steering {
	return reconcile.Steering{Desk: d.db, Reconciler: d.rec}
}

func by(name string) reconcile.Actor { return reconcile.Actor{Name: name} }

// leaveOut runs a daemon for a while whose configuration does not name the source.
func (d *daemon) leaveOut() {
	d.t.Helper()
	d.start(func(c *loop.SourceConfig) { c.Name, c.Source = "else", &repo{rev: loop.Revision{ID: "e"}} })
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		all, err := d.db.Sources(d.t.Context())
		if err != nil {
			d.t.Fatal(err)
		}
		if _, there := all["main"]; !there {
			break
		}
		if time.Now().After(deadline) {
			d.t.Fatal("the source is still there")
		}
	}
	d.stop()
}

// What a source loses because it is configured otherwise is not deleted unasked, unless
// its revision goes on from the one that was applied.
func TestMovedSourcesHoldDeletions(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(*loop.SourceConfig)
		descend bool
		held    string // part of the message; "": it is applied
	}{
		"ref":                  {func(c *loop.SourceConfig) { c.Ref = "v1" }, false, "ref was not set, now v1"},
		"ref that goes on":     {func(c *loop.SourceConfig) { c.Ref = "v1" }, true, ""},
		"url":                  {func(c *loop.SourceConfig) { c.URL = "other" }, false, "url was repo, now other"},
		"url that goes on":     {func(c *loop.SourceConfig) { c.URL = "other" }, true, ""},
		"path":                 {func(c *loop.SourceConfig) { c.Path = "b" }, true, "path was not set, now b"},
		"url of a directory":   {func(c *loop.SourceConfig) { c.URL, c.Source = "dir", plain{c.Source.(*repo)} }, true, "url was repo, now dir"},
		"nothing is otherwise": {func(*loop.SourceConfig) {}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			d.repo.commit("aaa", "one 1", "two 1")
			d.start()
			d.tick()
			d.repo.commit("bbb", "one 2")
			d.repo.rev.Rewind = !tc.descend
			d.start(tc.change)
			s := d.tick()
			if tc.held == "" {
				d.wantImages(map[string]string{"one": "2"})
				if s.Receipt.Result != oprc.ResultOK || s.RewoundFrom != "" {
					t.Errorf("got %+v, rewound from %q", s.Receipt, s.RewoundFrom)
				}
				return
			}
			d.wantImages(map[string]string{"one": "2", "two": "1"})
			for _, part := range []string{"it deletes 1 of 2 packages (two)", "another one than when revision aaa was applied (" + tc.held, "oprc source approve "} {
				if s.Receipt.Result != oprc.ResultHeld || !strings.Contains(s.Receipt.Message, part) {
					t.Errorf("no %q in %s: %s", part, s.Receipt.Result, s.Receipt.Message)
				}
			}
			if c := condition(s, "Rewound"); !c.Status || c.Reason != "Moved" {
				t.Errorf("rewound: %+v", c)
			}
			d.start(tc.change) // it stays so
			if s := d.tick(); s.Receipt.Result != oprc.ResultHeld {
				t.Errorf("after a restart: %+v", s.Receipt)
			}
			d.ask(oprc.SourceRequest{Verb: oprc.VerbApprove, Name: "main", PlanID: s.PlanID})
			if s := d.tick(); s.Receipt.Result != oprc.ResultOK || s.RewoundFrom != "" || s.RewoundBy != "" {
				t.Errorf("approved: %+v, rewound from %q", s.Receipt, s.RewoundFrom)
			}
			d.wantImages(map[string]string{"one": "2"})
		})
	}
}

// plain is a source that knows nothing of descent, as a directory.
type plain struct{ of *repo }

func (p plain) Poll(ctx context.Context, since time.Time) (loop.Revision, error) {
	return p.of.Poll(ctx, since)
}

func (p plain) Files(ctx context.Context, rev loop.Revision) ([]oprc.File, error) {
	return p.of.Files(ctx, rev)
}

// Who sets the configuration back has nothing to approve.
func TestMovedAndBack(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("aaa", "one 1", "two 1")
	d.start()
	d.tick()
	d.repo.commit("bbb", "one 1")
	d.repo.rev.Rewind = true
	d.start(func(c *loop.SourceConfig) { c.Ref = "v1" })
	if s := d.tick(); s.Receipt.Result != oprc.ResultHeld {
		t.Fatalf("got %+v", s.Receipt)
	}
	d.repo.commit("aaa", "one 1", "two 1")
	d.start()
	if s := d.tick(); s.Receipt.Result != oprc.ResultOK || s.PlanID != "" || s.RewoundFrom != "" || condition(s, "Rewound").Status {
		t.Errorf("got %+v, plan %q, rewound from %q: %+v", s.Receipt, s.PlanID, s.RewoundFrom, condition(s, "Rewound"))
	}
	d.repo.commit("ccc", "one 1")
	d.tick() // an ordinary deletion
	d.wantImages(map[string]string{"one": "1"})
}

// A source that was left out of the configuration and comes back with another repository
// does not delete what its name had.
func TestNameOfAFormerSource(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("aaa", "one 1", "two 1")
	d.start()
	d.tick()
	d.stop() // it may still write what it did
	if err := d.db.DropSources(t.Context(), []string{"main"}, 0); err != nil {
		t.Fatal(err)
	}
	d.repo.commit("xxx", "other 1")
	d.repo.rev.Rewind = true
	d.start(func(c *loop.SourceConfig) { c.URL = "other" })
	s := d.tick()
	d.wantImages(map[string]string{"one": "1", "two": "1", "other": "1"})
	if s.Receipt.Result != oprc.ResultHeld || !strings.Contains(s.Receipt.Message, "(the name had packages of an earlier source)") {
		t.Errorf("got %+v", s.Receipt)
	}
	if got := d.repo.resumed[len(d.repo.resumed)-1]; got != "aaa" {
		t.Errorf("judged against %q", got)
	}
}

// What people said of a source ends with it: another source of the name is none of it.
func TestRequestsBelongToTheSource(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(*loop.SourceConfig)
		without bool // a while without the source lies between
		holds   bool
	}{
		"another url":             {func(c *loop.SourceConfig) { c.URL = "other" }, false, false},
		"another path":            {func(c *loop.SourceConfig) { c.Path = "b" }, false, false},
		"left out, and back":      {func(*loop.SourceConfig) {}, true, false},
		"another branch":          {func(c *loop.SourceConfig) { c.Ref = "v1" }, false, true},
		"a restart, and the like": {func(c *loop.SourceConfig) { c.Interval = time.Minute }, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			d.repo.commit("aaa", "shop 1", "bad 1")
			d.start()
			d.tick()
			if err := d.steering().Suspend(t.Context(), "main", "freeze", 0, by("ann")); err != nil {
				t.Fatal(err)
			}
			if s := d.tick(); s.Suspended == nil {
				t.Fatal("not suspended")
			}
			if tc.without {
				d.leaveOut()
			}
			d.repo.commit("bbb", "shop 2", "bad 1")
			d.start(tc.change)
			s := d.tick()
			if held := s.Receipt.Result == oprc.ResultSuspended; held != tc.holds {
				t.Fatalf("got %+v", s.Receipt)
			}
			asked, err := d.db.Requests(t.Context())
			if err != nil || len(asked.Asked) > 0 != tc.holds {
				t.Errorf("asked still: %+v, %v", asked.Asked, err)
			}
			events, err := d.db.Events(t.Context(), "", 100)
			said := slices.ContainsFunc(events, func(e oprc.Event) bool {
				return e.Message == "suspend of main by ann ends: it was said of a former source of this name"
			})
			if err != nil || said != (!tc.holds && !tc.without) {
				t.Errorf("said: %v, %v", said, err)
			}
		})
	}
}

// A package that was put back is in quarantine of the source that brought the bad version.
func TestQuarantineBelongsToTheSource(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("aaa", "shop good")
	d.start()
	d.tick()
	d.repo.commit("bbb", "shop bad")
	d.tick()
	if _, err := d.steering().Undo(t.Context(), "shop", 0, "", by("ann")); err != nil {
		t.Fatal(err)
	}
	d.tick()
	d.wantImages(map[string]string{"shop": "good"})
	d.start(func(c *loop.SourceConfig) { c.Interval = time.Minute })
	if s := d.tick(); !slices.Contains(s.Quarantined, "shop") {
		t.Errorf("after a restart: %+v", s.Quarantined)
	}
	d.start(func(c *loop.SourceConfig) { c.URL = "other" })
	if s := d.tick(); len(s.Quarantined) > 0 {
		t.Errorf("of another source: %+v", s.Quarantined)
	}
	d.wantImages(map[string]string{"shop": "bad"})
}
