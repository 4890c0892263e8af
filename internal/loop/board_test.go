package loop

import (
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// An object that is reverted fightTimes within the window is contested, and not once
// earlier; for as long as the window after the last time, or until somebody acts.
func TestCountOfAFight(t *testing.T) {
	const unit = "shop.cart/0/0@edge"
	p := &plan.Plan{Changes: []plan.Change{{Kind: oprc.KindUnit, Key: unit, Reason: plan.ReasonDrift}}}
	b, now := newBoard(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	contested := func(at time.Time) bool { return b.contested("main", at)[unit] }
	for n := 1; n <= fightTimes; n++ {
		b.putBack("main", p, now)
		if got, want := contested(now), n == fightTimes; got != want {
			t.Errorf("reverted %d times: contested %t, want %t", n, got, want)
		}
	}
	if len(b.contested("other", now)) > 0 {
		t.Error("the fight of one source is counted for another")
	}
	if !contested(now.Add(fightWindow)) || contested(now.Add(fightWindow+1)) {
		t.Error("a fight does not end with the window")
	}
	for range 2 * fightTimes { // never fightTimes within one window
		now = now.Add(fightWindow/(fightTimes-1) + 1)
		b.putBack("main", p, now)
		if contested(now) {
			t.Fatal("an object that is reverted now and then is contested")
		}
	}
	for range fightTimes {
		b.putBack("main", p, now)
	}
	if !contested(now) {
		t.Error("reverted often enough, and not contested")
	}
	if b.peace("main"); contested(now) {
		t.Error("somebody acted, and the object is still contested")
	}
}

// Only what is undone though nobody asked for anything new counts towards a fight.
func TestWhatCountsAsAFight(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		change plan.Change
		want   bool
	}{
		{plan.Change{Kind: oprc.KindUnit, Key: "x", Reason: plan.ReasonDrift}, true},
		{plan.Change{Kind: oprc.KindPackage, Key: "x", Reason: plan.ReasonSpec}, true},
		{plan.Change{Kind: oprc.KindUnit, Key: "x", Reason: plan.ReasonSpec}, false},
		{plan.Change{Kind: oprc.KindPackage, Key: "x", Reason: plan.ReasonDrift}, false},
		{plan.Change{Kind: oprc.KindPackage, Key: "x", Reason: plan.ReasonNew}, false},
		{plan.Change{Kind: oprc.KindClass, Key: "x", Reason: plan.ReasonSpec}, false},
	} {
		b := newBoard()
		for range fightTimes {
			b.putBack("main", &plan.Plan{Changes: []plan.Change{test.change}}, now)
		}
		if got := b.contested("main", now)["x"]; got != test.want {
			t.Errorf("%s, %s: contested %t, want %t", test.change.Kind, test.change.Reason, got, test.want)
		}
	}
}

// Silence is believed once state could be read for the whole timeout, without a break in
// which heartbeats may have been missed.
func TestListeningForTheTimeout(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	listen := func(h *listening, from time.Time) (until time.Time) {
		until = from.Add(oprc.HeartbeatTimeout - 1)
		for at := from; at.Before(until); at = at.Add(oprc.HeartbeatInterval) {
			if h.heard(at) {
				t.Errorf("believed after %s", at.Sub(from))
			}
		}
		return until
	}
	var h listening
	until := listen(&h, start)
	if h.heard(until) {
		t.Error("believed before the timeout")
	}
	if !h.heard(until.Add(1)) {
		t.Error("not believed at the timeout")
	}
	if until = until.Add(1 + deafAfter); !h.heard(until) {
		t.Errorf("%s are taken for a break", deafAfter)
	}
	if until = until.Add(deafAfter + 1); h.heard(until) {
		t.Error("believed right after a break")
	}
	if until = listen(&h, until); !h.heard(until.Add(1)) {
		t.Error("not believed at the timeout after a break")
	}
}
