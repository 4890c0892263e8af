package ingest_test

import (
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

func beatOf(id, crm string) oprc.ReportEntry {
	return oprc.ReportEntry{ID: id, Report: oprc.Report{Type: oprc.ReportHeartbeat, CRM: crm}}
}

// An environment that was DOWN is recovering for a while; one that is new, or that
// lost only some of its CRMs, is not.
func TestRecovering(t *testing.T) {
	for name, tc := range map[string]struct {
		known []oprc.Heartbeat // ages before now, as Time
		beat  string
		want  bool
	}{
		"new":                       {nil, "a", false},
		"the same CRM is back":      {[]oprc.Heartbeat{{CRM: "a"}}, "a", true},
		"another CRM takes over":    {[]oprc.Heartbeat{{CRM: "a"}}, "b", true},
		"one of two is back":        {[]oprc.Heartbeat{{CRM: "a"}, {CRM: "b"}}, "a", false},
		"it goes on as ever":        {[]oprc.Heartbeat{{CRM: "b"}}, "b", false},
		"a colleague of one steady": {[]oprc.Heartbeat{{CRM: "b"}}, "c", false},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when synctest's clocks start
			box := newInbox(beatOf(strconv.FormatInt(now.UnixMilli(), 10)+"-0", tc.beat))
			box.beats = map[string]oprc.Heartbeat{}
			for _, b := range tc.known {
				b.Time, b.Since = now.Add(-time.Minute), now.Add(-time.Hour)
				if b.CRM == "b" {
					b.Time = now.Add(-time.Second)
				}
				box.beats[b.CRM] = b
			}
			run(t, box, func(string) {})
			beats := slices.Collect(maps.Values(box.beats))
			if until := oprc.RecoveringUntil(beats, now.Add(time.Second)); until.IsZero() == tc.want {
				t.Errorf("recovering until %s, want %v: %+v", until, tc.want, beats)
			}
			for i := range beats {
				beats[i].Time = beats[i].Time.Add(oprc.SteadyAfter)
			}
			if until := oprc.RecoveringUntil(beats, now.Add(oprc.SteadyAfter+10*time.Second)); !until.IsZero() {
				t.Errorf("recovering for ever: until %s", until)
			}
		})
	}
}

// Heartbeats are stamped by one clock, not by that of whichever daemon takes them in.
func TestHeartbeatsAreStampedByOneClock(t *testing.T) {
	box := newInbox(beatOf("9-0", "a"))
	box.beats, box.skew = map[string]oprc.Heartbeat{}, -time.Hour
	run(t, box, func(string) {})
	ours := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when synctest's clocks start
	if b := box.beats["a"]; b.Time.After(ours.Add(-time.Minute)) || b.Since.After(ours.Add(-time.Minute)) {
		t.Errorf("stamped %s, since %s: by the daemon's clock", b.Time, b.Since)
	}
}

// A daemon that comes back to heartbeats which waited for it does not take the
// environment for one that was DOWN.
func TestHeartbeatsThatWaitedAreNoSilence(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when synctest's clocks start
	for name, tc := range map[string]struct {
		ages []time.Duration // of the heartbeats that waited
		want bool            // it is recovering
	}{
		"without a break": {[]time.Duration{50 * time.Second, 38 * time.Second, 24 * time.Second, 10 * time.Second}, false},
		"with a break":    {[]time.Duration{50 * time.Second, 10 * time.Second}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var waiting []oprc.ReportEntry
			for _, age := range tc.ages {
				waiting = append(waiting, beatOf(strconv.FormatInt(now.Add(-age).UnixMilli(), 10)+"-0", "a"))
			}
			box := newInbox(waiting...)
			box.beats = map[string]oprc.Heartbeat{"a": {CRM: "a", Time: now.Add(-time.Minute), Since: now.Add(-time.Hour)}}
			run(t, box, func(string) {})
			beats := slices.Collect(maps.Values(box.beats))
			if until := oprc.RecoveringUntil(beats, now.Add(time.Second)); until.IsZero() == tc.want {
				t.Errorf("recovering until %s, want %v: %+v", until, tc.want, beats)
			}
		})
	}
}
