package crmtest

import (
	"context"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// A rule is one thing that CRMs do. Each is tried on a unit of its own.
type rule struct {
	name     string
	says     string
	must     bool
	restarts bool // needs to start and stop the CRM
	check    func(*suite, context.Context) error
}

var rules = []rule{
	{"join", "joins group crm of the command stream", true, false, (*suite).checkJoin},
	{"heartbeat", "sends a heartbeat from the first moment, and one every 5 s", true, false, (*suite).checkHeartbeat},
	{"deploy", "reports on a deployment, RUNNING or DOWN in the end", true, false, (*suite).checkDeploy},
	{"deploying", "reports DEPLOYING while it works", false, false, (*suite).checkDeploying},
	{"echo", "echoes generation and specHash of the command", true, false, (*suite).checkEcho},
	{"ack-last", "acknowledges after it reported, not before", true, false, (*suite).checkAckLast},
	{"repeat", "absorbs a repeated command", true, false, (*suite).checkRepeat},
	{"newer", "carries a newer generation out in place of the older", true, false, (*suite).checkNewer},
	{"older", "drops an older generation", true, false, (*suite).checkOlder},
	{"undeploy", "undeploys, reports DELETED, deploys again", true, false, (*suite).checkUndeploy},
	{"malformed", "puts what it cannot understand into dead, with a reason, and goes on", true, false, (*suite).checkMalformed},
	{"forged", "refuses a command that the unit's record does not bear out", false, false, (*suite).checkForged},
	{"unread", "says nothing again while nobody reads, and goes on when somebody does", false, false, (*suite).checkUnread},
	{"records", "reads the records at its start: deploys what should run", true, true, (*suite).checkRecords},
	{"records-gone", "reads the records at its start: reports what should not run as DELETED", true, true, (*suite).checkRecordsGone},
	{"own-backlog", "finishes what it had read before it stopped", true, true, (*suite).checkBacklog},
	{"abandoned", "takes over commands that a dead colleague left", true, true, (*suite).checkAbandoned},
	{"loss", "joins again when Redis has lost its data, and takes up the new records", true, false, (*suite).checkLoss},
	{"well-formed", "writes reports that can be understood", true, false, (*suite).checkWellFormed},
}

func (s *suite) checkJoin(ctx context.Context) error {
	return s.until(ctx, "group crm", func() (bool, error) { return s.p.Joined(ctx) })
}

func (s *suite) beats(ctx context.Context) ([]oprc.Report, error) {
	entries, err := s.p.Reports(ctx)
	var out []oprc.Report
	for _, e := range entries {
		if e.Err == nil && e.Report.Type == oprc.ReportHeartbeat {
			out = append(out, e.Report)
		}
	}
	return out, err
}

// checkHeartbeat waits for the first heartbeat for less than an interval, and then
// for two more. Their times are the CRM's own, so only distances count.
func (s *suite) checkHeartbeat(ctx context.Context) error {
	began := time.Now()
	var beats []oprc.Report
	err := s.until(ctx, "3 heartbeats", func() (bool, error) {
		var err error
		beats, err = s.beats(ctx)
		if err == nil && len(beats) == 0 && time.Since(began) > oprc.HeartbeatInterval {
			return false, broken("no heartbeat in the first %s", oprc.HeartbeatInterval)
		}
		return len(beats) >= 3, err
	})
	if err != nil {
		return err
	}
	apart := beats[len(beats)-1].Time.Sub(beats[len(beats)-2].Time)
	if apart < oprc.HeartbeatInterval/2 || apart > oprc.HeartbeatInterval*2 {
		return broken("heartbeats are %s apart", apart)
	}
	return nil
}

func (s *suite) checkDeploy(ctx context.Context) error {
	c, id, err := s.dispatch(ctx, oprc.Deploy, 1, s.unit("deploy", "a"))
	if err != nil {
		return err
	}
	if err := s.says(ctx, c, oprc.Running, oprc.Down); err != nil {
		return err
	}
	return s.acknowledges(ctx, id)
}

func (s *suite) checkDeploying(ctx context.Context) error {
	reports, err := s.statuses(ctx, s.unit("deploy", "a").ID)
	if err == nil && (len(reports) == 0 || reports[0].Condition != oprc.Deploying) {
		return broken("the first report on a unit was not DEPLOYING")
	}
	return err
}

func (s *suite) checkEcho(ctx context.Context) error {
	u := s.unit("deploy", "a")
	reports, err := s.statuses(ctx, u.ID)
	if err == nil && len(reports) == 0 {
		return broken("there is no report")
	}
	for _, r := range reports {
		if r.Generation != 1 || r.SpecHash != oprc.Digest(u) {
			return broken("%s said generation %d and specHash %q, not 1 and %q", r.Condition, r.Generation, r.SpecHash, oprc.Digest(u))
		}
	}
	return err
}

// checkAckLast looks at the acknowledgement first and at the reports then: what was
// written before the acknowledgement is seen.
func (s *suite) checkAckLast(ctx context.Context) error {
	for generation := int64(1); generation <= 5; generation++ {
		c, id, err := s.dispatch(ctx, oprc.Deploy, generation, s.unit("ack-last", string('a'+rune(generation))))
		if err != nil {
			return err
		}
		if err := s.acknowledges(ctx, id); err != nil {
			return err
		}
		reports, err := s.statuses(ctx, c.ID)
		if err != nil {
			return err
		}
		answered := false
		for _, r := range reports {
			answered = answered || r.Generation == generation && (r.Condition == oprc.Running || r.Condition == oprc.Down)
		}
		if !answered {
			return broken("generation %d was acknowledged before its outcome was reported", generation)
		}
	}
	return nil
}

func (s *suite) checkRepeat(ctx context.Context) error {
	c, id, err := s.dispatch(ctx, oprc.Deploy, 1, s.unit("repeat", "a"))
	if err != nil {
		return err
	}
	if err := s.says(ctx, c, oprc.Running, oprc.Down); err != nil {
		return err
	}
	before, err := s.statuses(ctx, c.ID)
	if err != nil {
		return err
	}
	for range 2 {
		if id, err = s.p.Inject(ctx, rdb.CommandFields(c)); err != nil {
			return err
		}
	}
	if err := s.acknowledges(ctx, id); err != nil {
		return err
	}
	after, err := s.statuses(ctx, c.ID)
	for _, r := range after[min(len(before), len(after)):] {
		if r.Generation == 1 && r.Condition != before[len(before)-1].Condition {
			return broken("a repeated command made it report %s after %s", r.Condition, before[len(before)-1].Condition)
		}
	}
	return err
}

func (s *suite) checkNewer(ctx context.Context) error {
	if _, _, err := s.dispatch(ctx, oprc.Deploy, 1, s.unit("newer", "a")); err != nil {
		return err
	}
	c, id, err := s.dispatch(ctx, oprc.Deploy, 2, s.unit("newer", "b"))
	if err != nil {
		return err
	}
	if err := s.says(ctx, c, oprc.Running, oprc.Down); err != nil {
		return err
	}
	if err := s.acknowledges(ctx, id); err != nil {
		return err
	}
	return s.lastIs(ctx, c.ID, 2)
}

// lastIs says whether the last report on a unit is of a generation.
func (s *suite) lastIs(ctx context.Context, id string, generation int64) error {
	reports, err := s.statuses(ctx, id)
	if err == nil && (len(reports) == 0 || reports[len(reports)-1].Generation != generation) {
		return broken("the last report is not of generation %d", generation)
	}
	return err
}

func (s *suite) checkOlder(ctx context.Context) error {
	old, _, err := s.dispatch(ctx, oprc.Deploy, 1, s.unit("older", "a"))
	if err != nil {
		return err
	}
	c, _, err := s.dispatch(ctx, oprc.Deploy, 2, s.unit("older", "b"))
	if err != nil {
		return err
	}
	if err := s.says(ctx, c, oprc.Running, oprc.Down); err != nil {
		return err
	}
	id, err := s.p.Inject(ctx, rdb.CommandFields(old))
	if err != nil {
		return err
	}
	if err := s.acknowledges(ctx, id); err != nil {
		return err
	}
	return s.lastIs(ctx, c.ID, 2)
}

func (s *suite) checkUndeploy(ctx context.Context) error {
	u := s.unit("undeploy", "a")
	for i, step := range []struct {
		op   oprc.Op
		want []oprc.Condition
	}{
		{oprc.Deploy, []oprc.Condition{oprc.Running, oprc.Down}},
		{oprc.Undeploy, []oprc.Condition{oprc.Deleted}},
		{oprc.Deploy, []oprc.Condition{oprc.Running, oprc.Down}},
		{oprc.Undeploy, []oprc.Condition{oprc.Deleted}},
	} {
		c, id, err := s.dispatch(ctx, step.op, int64(i+1), u)
		if err != nil {
			return err
		}
		if err := s.says(ctx, c, step.want...); err != nil {
			return err
		}
		if err := s.acknowledges(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// checkMalformed sends what no control plane sends, and then a good command.
func (s *suite) checkMalformed(ctx context.Context) error {
	good := rdb.CommandFields(oprc.Command{
		Type: oprc.Deploy, ID: s.unit("malformed", "a").ID, Generation: 1, SpecHash: "sha256:0", Time: time.Now(), Unit: s.unit("malformed", "a"),
	})
	for _, change := range []map[string]string{
		{"type": "explode"}, {"id": ""}, {"generation": "many"}, {"unit": "{"},
	} {
		entry := map[string]string{}
		for name, value := range good {
			entry[name] = value
		}
		for name, value := range change {
			entry[name] = value
		}
		id, err := s.p.Inject(ctx, entry)
		if err != nil {
			return err
		}
		if err := s.buried(ctx, id); err != nil {
			return err
		}
	}
	c, _, err := s.dispatch(ctx, oprc.Deploy, 1, s.unit("malformed", "a"))
	if err != nil {
		return err
	}
	return s.says(ctx, c, oprc.Running, oprc.Down)
}

// buried waits until a command is among the dead letters and acknowledged.
func (s *suite) buried(ctx context.Context, streamID string) error {
	if err := s.acknowledges(ctx, streamID); err != nil {
		return err
	}
	letters, err := s.db.Dead(ctx, s.Env, 100)
	for _, l := range letters {
		if l.Entry == streamID {
			if l.Reason == "" {
				return broken("the dead letter of %s has no reason", streamID)
			}
			return err
		}
	}
	if err != nil {
		return err
	}
	return broken("%s was acknowledged, and is not among the dead letters", streamID)
}

func (s *suite) checkForged(ctx context.Context) error {
	c, _, err := s.dispatch(ctx, oprc.Deploy, 1, s.unit("forged", "a"))
	if err != nil {
		return err
	}
	if err := s.says(ctx, c, oprc.Running, oprc.Down); err != nil {
		return err
	}
	future, other, unknown := c, c, c
	future.Generation = 9
	other.Unit = s.unit("forged", "b")
	other.SpecHash = oprc.Digest(other.Unit)
	unknown.Unit = s.unit("forged-unknown", "a")
	unknown.ID, unknown.SpecHash = unknown.Unit.ID, oprc.Digest(unknown.Unit)
	for _, forged := range []oprc.Command{future, other, unknown} {
		id, err := s.p.Inject(ctx, rdb.CommandFields(forged))
		if err != nil {
			return err
		}
		if err := s.buried(ctx, id); err != nil {
			return err
		}
	}
	return s.lastIs(ctx, c.ID, 1)
}

// checkUnread reads no report until the CRM is silent, and then all.
func (s *suite) checkUnread(ctx context.Context) error {
	said, since := 0, time.Now()
	err := s.until(ctx, "silence while nobody reads", func() (bool, error) {
		entries, err := s.p.Reports(ctx)
		if len(entries) != said {
			said, since = len(entries), time.Now()
		}
		return time.Since(since) > 2*oprc.HeartbeatInterval, err
	})
	if err != nil {
		return err
	}
	if err := s.p.ReadReports(ctx); err != nil {
		return err
	}
	return s.until(ctx, "a heartbeat when the others were read", func() (bool, error) {
		entries, err := s.p.Reports(ctx)
		return len(entries) > said, err
	})
}

// away runs what happens while the CRM is not there.
func (s *suite) away(ctx context.Context, happens func() error) error {
	if err := s.halt(); err != nil {
		return err
	}
	if err := happens(); err != nil {
		return err
	}
	return s.start(ctx)
}

func (s *suite) checkRecords(ctx context.Context) error {
	var c oprc.Command
	err := s.away(ctx, func() (err error) {
		if c, _, err = s.dispatch(ctx, oprc.Deploy, 1, s.unit("records", "a")); err != nil {
			return err
		}
		return s.p.DropCommands(ctx)
	})
	if err != nil {
		return err
	}
	return s.says(ctx, c, oprc.Running, oprc.Down)
}

func (s *suite) checkRecordsGone(ctx context.Context) error {
	u := s.unit("records-gone", "a")
	c, _, err := s.dispatch(ctx, oprc.Deploy, 1, u)
	if err != nil {
		return err
	}
	if err := s.says(ctx, c, oprc.Running, oprc.Down); err != nil {
		return err
	}
	err = s.away(ctx, func() (err error) {
		if c, _, err = s.dispatch(ctx, oprc.Undeploy, 2, u); err != nil {
			return err
		}
		return s.p.DropCommands(ctx)
	})
	if err != nil {
		return err
	}
	return s.says(ctx, c, oprc.Deleted)
}

// checkBacklog lets the CRM find a command under its own name that it has not
// acknowledged.
func (s *suite) checkBacklog(ctx context.Context) error {
	beats, err := s.beats(ctx)
	if err != nil || len(beats) == 0 {
		return broken("without heartbeats its name is not known")
	}
	return s.leftBy(ctx, "own-backlog", beats[len(beats)-1].CRM, 0)
}

func (s *suite) checkAbandoned(ctx context.Context) error {
	return s.leftBy(ctx, "abandoned", "crmtest-dead", time.Hour)
}

// leftBy has a command read by a CRM, some time ago, that does not finish it.
func (s *suite) leftBy(ctx context.Context, rule, crm string, ago time.Duration) error {
	var c oprc.Command
	var id string
	err := s.away(ctx, func() (err error) {
		if c, id, err = s.dispatch(ctx, oprc.Deploy, 1, s.unit(rule, "a")); err != nil {
			return err
		}
		return s.p.Abandon(ctx, crm, ago)
	})
	if err != nil {
		return err
	}
	if err := s.says(ctx, c, oprc.Running, oprc.Down); err != nil {
		return err
	}
	return s.acknowledges(ctx, id)
}

// checkLoss loses all data and dispatches again: a unit that runs gets another spec
// under the generation that it has.
func (s *suite) checkLoss(ctx context.Context) error {
	before, _, err := s.dispatch(ctx, oprc.Deploy, 1, s.unit("loss", "a"))
	if err != nil {
		return err
	}
	if err := s.says(ctx, before, oprc.Running, oprc.Down); err != nil {
		return err
	}
	saysDeploying, err := s.saidDeploying(ctx, before)
	if err != nil {
		return err
	}
	if err := s.checkWellFormed(ctx); err != nil { // before the reports are gone
		return err
	}
	if err := s.p.Lose(ctx); err != nil {
		return err
	}
	c, id, err := s.dispatch(ctx, oprc.Deploy, 1, s.unit("loss", "b"))
	if err != nil {
		return err
	}
	if err := s.says(ctx, c, oprc.Running, oprc.Down); err != nil {
		return err
	}
	if err := s.acknowledges(ctx, id); err != nil {
		return err
	}
	again, err := s.saidDeploying(ctx, c)
	if err == nil && saysDeploying && !again {
		return broken("it took another spec under the same generation for a repeat: it deployed nothing, and reports the new specHash")
	}
	return err
}

// saidDeploying says whether DEPLOYING was reported for a command.
func (s *suite) saidDeploying(ctx context.Context, c oprc.Command) (bool, error) {
	reports, err := s.statuses(ctx, c.ID)
	for _, r := range reports {
		if r.Condition == oprc.Deploying && r.SpecHash == c.SpecHash {
			return true, err
		}
	}
	return false, err
}

func (s *suite) checkWellFormed(ctx context.Context) error {
	entries, err := s.p.Reports(ctx)
	for _, e := range entries {
		if e.Err != nil {
			return broken("report %s: %v: %v", e.ID, e.Err, e.Raw)
		}
	}
	return err
}
