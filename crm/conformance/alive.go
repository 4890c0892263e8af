package conformance

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// What a CRM does all the time, whatever it is asked for.

func (s *suite) checkJoin(ctx context.Context) (string, error) {
	began := time.Now()
	err := s.until(ctx, "group crm of the command stream", func() (bool, error) { return s.p.Joined(ctx) })
	return fmt.Sprintf("after %s", round(time.Since(began))), err
}

func (s *suite) beats(ctx context.Context) ([]oprc.ReportEntry, error) {
	entries, err := s.p.Reports(ctx)
	return slices.DeleteFunc(entries, func(e oprc.ReportEntry) bool {
		return e.Err != nil || e.Report.Type != oprc.ReportHeartbeat
	}), err
}

// checkHeartbeat waits for the first heartbeat for less than an interval, and then
// for two that are an interval apart: on a busy machine not all are. Their times are the
// CRM's own, so only distances count.
func (s *suite) checkHeartbeat(ctx context.Context) (string, error) {
	began := time.Now()
	var apart time.Duration
	err := s.within(ctx, s.Patience+3*oprc.HeartbeatInterval, "3 heartbeats", func() (bool, error) {
		if err := s.p.ReadReports(ctx); err != nil { // or there would be no reason for more
			return false, err
		}
		beats, err := s.beats(ctx)
		if err == nil && len(beats) == 0 && time.Since(began) > oprc.HeartbeatInterval {
			return false, broken("no heartbeat in the first %s", oprc.HeartbeatInterval)
		}
		for i := 2; i < len(beats); i++ {
			apart = beats[i].Report.Time.Sub(beats[i-1].Report.Time)
			if apart >= oprc.HeartbeatInterval/2 && apart <= oprc.HeartbeatInterval*2 {
				return true, err
			}
		}
		if len(beats) > 5 {
			return false, broken("heartbeats are %s apart", apart)
		}
		return false, err
	})
	return fmt.Sprintf("%s apart", apart.Round(100*time.Millisecond)), err
}

// A slowStart is what was seen while a unit took long to start.
type slowStart struct {
	want    time.Duration // how long it should take
	took    time.Duration
	silence time.Duration // the longest time without a heartbeat
	idle    time.Duration // the longest time that the command was not touched
	err     error
}

// slowly deploys a unit that takes long to start, once for all rules about that.
func (s *suite) slowly(ctx context.Context) *slowStart {
	if s.slow != nil {
		return s.slow
	}
	s.slow = &slowStart{}
	if s.checks("heartbeat-deploying") {
		s.slow.want = mostSilence + 2*time.Second
	}
	if s.checks("fresh") {
		s.slow.want = max(s.slow.want, s.Lease*3/2)
	}
	s.slow.err = s.watchSlow(ctx, s.slow)
	return s.slow
}

// mostSilence is when a heartbeat was missed, on a machine that is busy.
const mostSilence = 2*oprc.HeartbeatInterval + time.Second

func (s *suite) watchSlow(ctx context.Context, seen *slowStart) error {
	u := s.unit("slow", "a")
	u.Functions[0].Config.Env[StartDelay] = oprc.EnvValue{Text: strconv.Itoa(int(math.Ceil(seen.want.Seconds())))}
	if err := s.until(ctx, "a first heartbeat", func() (bool, error) {
		beats, err := s.beats(ctx)
		return len(beats) > 0, err
	}); err != nil {
		return err
	}
	c, id, err := s.dispatch(ctx, oprc.Deploy, 1, u)
	if err != nil {
		return err
	}
	var outcome string
	err = s.within(ctx, seen.want+s.Patience, "an outcome of a unit that takes "+seen.want.String()+" to start", func() (bool, error) {
		if err := s.p.ReadReports(ctx); err != nil { // or there would be no reason for heartbeats
			return false, err
		}
		d, idle, err := s.p.Idle(ctx, id)
		if err != nil {
			return false, err
		}
		if d == rdb.InHand {
			seen.idle = max(seen.idle, idle)
		}
		outcome, err = s.outcome(ctx, c)
		return outcome != "", err
	})
	if err != nil {
		return err
	}
	return s.measure(ctx, at(id), at(outcome), seen)
}

// outcome returns the stream id of the first report of an outcome; "" if there is none.
func (s *suite) outcome(ctx context.Context, c oprc.Command) (string, error) {
	entries, err := s.p.Reports(ctx)
	for _, e := range entries {
		if e.Err == nil && e.Report.ID == c.ID && answers(e.Report, c) && slices.Contains(outcomes, e.Report.Condition) {
			return e.ID, nil
		}
	}
	return "", err
}

// measure takes times from stream ids: they are Redis' own.
func (s *suite) measure(ctx context.Context, from, to time.Time, seen *slowStart) error {
	seen.took = to.Sub(from)
	beats, err := s.beats(ctx)
	last := from
	for _, b := range beats {
		if t := at(b.ID); t.After(last) && t.Before(to) {
			seen.silence, last = max(seen.silence, t.Sub(last)), t
		}
	}
	seen.silence = max(seen.silence, to.Sub(last))
	return err
}

// at is the time in a stream id.
func at(streamID string) time.Time {
	var ms int64
	_, _ = fmt.Sscanf(streamID, "%d-", &ms)
	return time.UnixMilli(ms)
}

// tooShort says that a slow start was none.
func (seen *slowStart) tooShort() error {
	if seen.took >= seen.want*9/10 {
		return nil
	}
	return unseenError(fmt.Sprintf("the unit was reported after %s: let the workload take as many seconds to become ready as its environment variable %s says (%s)",
		round(seen.took), StartDelay, seen.want))
}

func (s *suite) checkHeartbeatDeploying(ctx context.Context) (string, error) {
	seen := s.slowly(ctx)
	if seen.err != nil {
		return "", seen.err
	}
	if seen.silence > mostSilence {
		return "", broken("no heartbeat for %s while a unit was deployed", round(seen.silence))
	}
	return fmt.Sprintf("at most %s apart in %s", round(seen.silence), round(seen.took)), seen.tooShort()
}

func (s *suite) checkFresh(ctx context.Context) (string, error) {
	seen := s.slowly(ctx)
	switch {
	case seen.err != nil:
		return "", seen.err
	case seen.idle > s.Lease:
		return "", broken("the command was not touched for %s while a unit was deployed: after %s a colleague takes it and deploys the unit a second time", round(seen.idle), s.Lease)
	}
	return fmt.Sprintf("touched every %s in %s", round(seen.idle), round(seen.took)), seen.tooShort()
}

// checkUnread reads no report until the CRM is silent, and then all.
func (s *suite) checkUnread(ctx context.Context) (string, error) {
	said, since := 0, time.Now()
	err := s.within(ctx, s.Patience+6*oprc.HeartbeatInterval, "silence while nobody reads", func() (bool, error) {
		entries, err := s.p.Reports(ctx)
		if len(entries) != said {
			said, since = len(entries), time.Now()
		}
		return time.Since(since) > 2*oprc.HeartbeatInterval, err
	})
	if err != nil {
		return "", err
	}
	if err := s.p.ReadReports(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("silent after %d reports", said), s.until(ctx, "a heartbeat when the others were read", func() (bool, error) {
		entries, err := s.p.Reports(ctx)
		return len(entries) > said, err
	})
}
