package loop_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// passes counts how often the keeper looked at what nobody answered.
type passes struct {
	*rdb.DB
	n atomic.Int64
}

func (p *passes) CommandsRead(ctx context.Context, env string) (read, last string, err error) {
	defer p.n.Add(1)
	return p.DB.CommandsRead(ctx, env)
}

// A silence is an environment whose CRM lives and says nothing about its units, and a
// clock that is moved by hand.
type silence struct {
	*daemon
	store *passes
	ahead atomic.Int64 // ns
}

func newSilence(t *testing.T, units ...string) *silence {
	t.Helper()
	d := newDaemon(t)
	s := &silence{daemon: d, store: &passes{DB: d.db}}
	d.store, d.now = s.store, s.clock
	for _, cls := range units {
		s.dispatch(cls)
	}
	if err := d.db.Join(t.Context(), "edge"); err != nil {
		t.Fatal(err)
	}
	s.beat()
	d.start()
	s.pass(0)
	return s
}

func (s *silence) dispatch(cls string) {
	s.t.Helper()
	u := oprc.DeploymentUnit{ID: oprc.UnitID(cls, 0, 0, "edge"), ClsKey: cls, TargetEnv: "edge"}
	cmd := oprc.Command{Type: oprc.Deploy, ID: u.ID, Generation: 1, SpecHash: oprc.Digest(u), Time: time.Now(), Unit: u}
	if err := s.db.Dispatch(s.t.Context(), "edge", []oprc.Command{cmd}, 0); err != nil {
		s.t.Fatal(err)
	}
}

func (s *silence) clock() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

func (s *silence) beat() {
	s.t.Helper()
	now := s.clock()
	if err := s.db.Heartbeat(s.t.Context(), "edge", []oprc.Heartbeat{{CRM: "mute", Time: now, Since: now}}); err != nil {
		s.t.Fatal(err)
	}
}

// pass lets the keeper look once more, after so much time.
func (s *silence) pass(after time.Duration) {
	s.t.Helper()
	s.ahead.Add(int64(after))
	s.beat()
	seen := s.store.n.Load()
	for range 1000 {
		if s.store.n.Load() >= seen+2 { // the first may have begun before
			return
		}
		s.loop.Replan()
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatal("the keeper does not look")
}

// queued fails the test if not so many commands were queued until now.
func (s *silence) queued(want int, when string) {
	s.t.Helper()
	if entries, err := s.redis.Stream("oaas.pm.{env:edge}.commands"); err != nil || len(entries) != want {
		s.t.Fatalf("%s: %d commands were queued, want %d; %v", when, len(entries), want, err)
	}
}

// read takes commands out of the stream, as the CRM mute.
func (s *silence) read(count int) (ids []string, last oprc.Command) {
	s.t.Helper()
	entries, err := s.db.Commands(s.t.Context(), "edge", "mute", count, time.Second)
	if err != nil || len(entries) != count {
		s.t.Fatalf("read %d commands, want %d; %v", len(entries), count, err)
	}
	for _, e := range entries {
		ids, last = append(ids, e.StreamID), e.Command
	}
	return ids, last
}

func (s *silence) ack(ids []string) {
	s.t.Helper()
	if err := s.db.AckCommands(s.t.Context(), "edge", ids...); err != nil {
		s.t.Fatal(err)
	}
}

// The pauses are 15 s, 30 s, 60 s and so on, each up to a quarter longer.
func TestWhatNobodyAnswersIsSentAgain(t *testing.T) {
	s := newSilence(t, "shop.cart")
	ids, _ := s.read(1)
	s.ack(ids)
	s.pass(0)
	for n, pause := range []time.Duration{15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute} {
		s.pass(pause - 2*time.Second)
		s.queued(n+1, "too early")
		s.pass(2*time.Second + pause/4)
		s.queued(n+2, "in time")
		ids, again := s.read(1)
		if again.ID != "shop.cart/0/0@edge" || again.Generation != 1 || again.Type != oprc.Deploy {
			t.Errorf("sent again: %+v", again)
		}
		s.ack(ids)
		s.pass(0) // its clock starts
	}
	s.ahead.Add(int64(time.Hour)) // it is due
	answer := oprc.Status{Generation: 1, Condition: oprc.Deploying, ReportID: "9-0"}
	if _, err := s.db.Fold(t.Context(), "edge", []ingest.StatusWrite{{ID: "shop.cart/0/0@edge", New: answer}}, nil, nil); err != nil {
		t.Fatal(err)
	}
	s.dispatch("shop.other") // for the keeper to look after
	s.pass(time.Hour)
	s.queued(6, "after an answer")
}

// A CRM that is slow has its commands in the stream or in hand: sending them again
// would only make it slower.
func TestWhatWaitsItsTurnIsNotSentAgain(t *testing.T) {
	s := newSilence(t, "shop.a", "shop.b", "shop.c")
	s.pass(time.Hour)
	s.queued(3, "nothing was read")
	first, _ := s.read(1)
	s.pass(time.Hour)
	s.pass(time.Hour)
	s.queued(3, "one is in hand, the others are not read")
	rest, _ := s.read(2)
	s.pass(time.Hour)
	s.pass(time.Hour)
	s.queued(3, "all are in hand")
	s.ack(first)
	s.pass(time.Hour)
	s.queued(4, "one was acknowledged without a word")
	again, cmd := s.read(1)
	if cmd.Unit.ClsKey != "shop.a" {
		t.Errorf("sent again: %+v", cmd)
	}
	s.ack(append(again, rest...))
}

// A command that was trimmed before anybody read it is not waited for.
func TestWhatWasTrimmedIsSentAgain(t *testing.T) {
	s := newSilence(t, "shop.cart")
	if err := (rdb.Probe{DB: s.db, Env: "edge"}).DropCommands(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.pass(0)
	s.pass(20 * time.Second)
	s.queued(1, "nothing is left in the stream")
}
