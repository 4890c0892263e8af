package loop_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// declaring gives the loop environments of a configuration.
func declaring(names ...string) func(*loop.Loop) {
	files := []oprc.File{}
	for i, name := range names {
		files = append(files, oprc.File{Path: fmt.Sprintf("environments[%d]", i), Data: fmt.Appendf(nil, "kind: Environment\nname: %s\n", name)})
	}
	return func(l *loop.Loop) { l.Environments = files }
}

// wantEnvironments waits until there are these, and no others.
func (d *daemon) wantEnvironments(want ...string) {
	d.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		live, err := d.db.Live(d.t.Context())
		if err != nil {
			d.t.Fatal(err)
		}
		got := map[string]bool{}
		for name, state := range live.Environments {
			if state.Rev > 0 {
				got[name] = true
			}
		}
		if names := slices.Sorted(maps.Keys(got)); slices.Equal(names, want) {
			return
		} else if time.Now().After(deadline) {
			d.t.Fatalf("environments: got %v, want %v", names, want)
		}
	}
}

// The environments of the configuration are there, also after Redis lost everything; those
// that it has no more go, the last one, too, unless something runs there.
func TestEnvironmentsOfTheConfiguration(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("a", deployed)
	d.configure = declaring("edge", "far")
	d.start()
	if s := d.tick(); s.Receipt.Result != oprc.ResultOK {
		t.Fatalf("the first tick comes before the environments: %+v", s.Receipt)
	}
	d.wantEnvironments("edge", "far")
	d.redis.FlushAll()
	d.tick()
	d.wantEnvironments("edge", "far")
	d.configure = declaring()
	d.start()
	d.wantEnvironments("edge") // something runs there
	d.repo.commit("b", "name: other\n")
	d.tick()
	d.wantEnvironments()
}

// What only another daemon's configuration declares stays, as long as that daemon lives or
// may come back.
func TestDaemonsWithDifferentConfigurations(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("a", "shop 1")
	d.configure = func(l *loop.Loop) {
		declaring("edge", "far")(l)
		l.Config, l.Peers = "aaa", d.db
	}
	d.start()
	d.tick()
	d.wantEnvironments("edge", "far")
	d.stop()

	// This daemon knows neither far nor source main; the other one lives.
	register := func() {
		t.Helper()
		if _, err := d.db.Register(t.Context(), "other", "aaa"); err != nil {
			t.Fatal(err)
		}
	}
	register()
	d.configure = func(l *loop.Loop) {
		declaring("edge")(l)
		l.Config, l.Peers = "bbb", d.db
	}
	sources := func() []string {
		all, err := d.db.Sources(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(all))
	}
	second := &repo{}
	second.commit("x", "else 1")
	d.start(func(c *loop.SourceConfig) { c.Name, c.Source, c.URL = "else", second, "else" })
	for deadline := time.Now().Add(2 * time.Minute); !slices.Contains(sources(), "else"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("source else is not followed")
		}
	}
	register() // a second sign of life: it lives beside this one
	for deadline := time.Now().Add(2 * time.Minute); len(d.loop.Differing()) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody differs")
		}
	}
	d.wantEnvironments("edge", "far")
	if got := sources(); !slices.Equal(got, []string{"else", "main"}) || !strings.HasPrefix(d.loop.Differing()[0], "other (aaa)") {
		t.Errorf("sources %v, differing %v", got, d.loop.Differing())
	}
	all, err := d.db.Daemons(t.Context())
	if err != nil || all["other"].Config != "aaa" || all["test"].Config != "bbb" {
		t.Errorf("daemons: %+v, %v", all, err)
	}
	d.stop()

	// The other one has ended before this one starts: it was replaced.
	if err := d.db.Unregister(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	d.start(func(c *loop.SourceConfig) { c.Name, c.Source, c.URL = "else", second, "else" })
	d.wantEnvironments("edge")
	for deadline := time.Now().Add(2 * time.Minute); !slices.Equal(sources(), []string{"else"}); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("sources: %v", sources())
		}
	}
}

// A daemon that was seen beside this one counts for a while after it has gone; one that had
// only just ended does not.
func TestHowLongAnotherConfigurationCounts(t *testing.T) {
	p := &peers{}
	now := time.Now()
	l := &loop.Loop{Peers: p, Config: "bbb", Holder: "b", Now: func() time.Time { return now }, Log: quietLog}
	see := func(stamp int64, config string) []string {
		p.others = map[string]oprc.Daemon{}
		if config != "" {
			p.others["a"] = oprc.Daemon{Seen: stamp, Config: config}
		}
		loop.Meet(l, t.Context())
		return l.Differing()
	}
	if got := see(1, "bbb"); len(got) > 0 {
		t.Errorf("the same: %v", got)
	}
	if got := see(2, "aaa"); !slices.Equal(got, []string{"a (aaa)"}) {
		t.Errorf("another: %v", got)
	}
	if got := see(0, ""); len(got) > 0 {
		t.Errorf("it had ended before: %v", got)
	}
	see(3, "aaa")
	see(4, "aaa")
	if got := see(0, ""); len(got) != 1 {
		t.Errorf("it lived beside: %v", got)
	}
	now = now.Add(11 * time.Minute)
	if got := see(0, ""); len(got) > 0 {
		t.Errorf("long ago: %v", got)
	}
}

type peers struct{ others map[string]oprc.Daemon }

func (p *peers) Register(context.Context, string, string) (map[string]oprc.Daemon, error) {
	return p.others, nil
}
func (p *peers) Unregister(context.Context, string) error { return nil }
