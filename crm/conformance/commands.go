package conformance

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// How single commands are carried out.

func (s *suite) checkDeploy(ctx context.Context) (string, error) {
	began := time.Now()
	c, id, err := s.dispatch(ctx, oprc.Deploy, 1, s.unit("deploy", "a"))
	if err != nil {
		return "", err
	}
	r, err := s.says(ctx, c, oprc.Running)
	if err != nil {
		return "", err
	}
	took := time.Since(began)
	if err := s.acknowledges(ctx, id); err != nil {
		return "", err
	}
	is, known := s.evidence(ctx, r).runs("a")
	if known && !is {
		return "", broken("the workload does not have the function's environment variables")
	}
	return fmt.Sprintf("RUNNING after %s%s", round(took), map[bool]string{true: ", and the workload answers"}[known]), nil
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

func (s *suite) checkURL(ctx context.Context) (string, error) {
	u := s.unit("url", "a")
	c, _, err := s.dispatch(ctx, oprc.Deploy, 1, u)
	if err != nil {
		return "", err
	}
	r, err := s.says(ctx, c, oprc.Running)
	if err != nil {
		return "", err
	}
	f := r.Functions[u.Functions[0].Key]
	if f.InvocationURL == "" {
		return "", broken("RUNNING, and no invocationUrl of function %s: nobody can call it", u.Functions[0].Key)
	}
	return f.InvocationURL, nil
}

func (s *suite) checkStaticURL(ctx context.Context) (string, error) {
	u := s.unit("static-url", "a")
	const url = "https://elsewhere.example/fn"
	f := &u.Functions[0]
	f.Image, f.StaticURL = "", url
	u.Provision = nil
	c, _, err := s.dispatch(ctx, oprc.Deploy, 1, u)
	if err != nil {
		return "", err
	}
	r, err := s.says(ctx, c, oprc.Running)
	if err == nil && r.Functions[f.Key].InvocationURL != url {
		return "", broken("the invocationUrl is %q, not the staticUrl %s", r.Functions[f.Key].InvocationURL, url)
	}
	return url, err
}

func (s *suite) checkDeploying(ctx context.Context) (string, error) {
	c, _, err := s.carriesOut(ctx, oprc.Deploy, 1, s.unit("deploying", "a"))
	if err != nil {
		return "", err
	}
	reports, err := s.statuses(ctx, c.ID)
	if err == nil && reports[0].Condition != oprc.Deploying {
		return "", broken("the first report on a unit was %s, not DEPLOYING", reports[0].Condition)
	}
	return "", err
}

// checkEcho lets no report say what was not asked for.
func (s *suite) checkEcho(ctx context.Context) (string, error) {
	asked := map[int64]string{}
	var id string
	for generation, variant := range map[int64]string{1: "a", 2: "b"} {
		asked[generation] = oprc.Digest(s.unit("echo", variant))
	}
	for generation := int64(1); generation <= 2; generation++ {
		c, _, err := s.carriesOut(ctx, oprc.Deploy, generation, s.unit("echo", string(rune('a'+generation-1))))
		if err != nil {
			return "", err
		}
		id = c.ID
	}
	reports, err := s.statuses(ctx, id)
	for _, r := range reports {
		if asked[r.Generation] != r.SpecHash {
			return "", broken("%s was reported of generation %d and specHash %q, which nobody asked for together", r.Condition, r.Generation, r.SpecHash)
		}
	}
	return fmt.Sprintf("%d reports", len(reports)), err
}

// checkAckLast looks at the acknowledgement first and at the reports then: what was
// written before the acknowledgement is seen. Then no report can be written: so no
// command can be acknowledged.
func (s *suite) checkAckLast(ctx context.Context) (string, error) {
	for generation := int64(1); generation <= 3; generation++ {
		c, id, err := s.dispatch(ctx, oprc.Deploy, generation, s.unit("ack-last", string('a'+rune(generation))))
		if err != nil {
			return "", err
		}
		if err := s.acknowledges(ctx, id); err != nil {
			return "", err
		}
		reports, err := s.statuses(ctx, c.ID)
		if err != nil {
			return "", err
		}
		answered := false
		for _, r := range reports {
			answered = answered || answers(r, c) && (r.Condition == oprc.Running || r.Condition == oprc.Down)
		}
		if !answered {
			return "", broken("generation %d was acknowledged before its outcome was reported", generation)
		}
	}
	_, id, err := s.refuses(ctx, 4, s.unit("ack-last", "refused"), func(streamID string) error {
		return s.staysInHand(ctx, streamID)
	})
	if err != nil {
		return "", err
	}
	return "while reports were refused the command stayed pending", s.acknowledges(ctx, id)
}

// holdTime is how long something must not happen.
const holdTime = 2 * time.Second

func (s *suite) staysInHand(ctx context.Context, streamID string) error {
	for deadline := time.Now().Add(holdTime); time.Now().Before(deadline); {
		d, err := s.p.Delivery(ctx, streamID)
		if err != nil {
			return err
		}
		if d == rdb.Acknowledged {
			return broken("a command was acknowledged while Redis refused every report: its outcome is lost if the CRM dies now")
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// refuses dispatches a command while Redis refuses reports, and calls during once the
// CRM has read it.
func (s *suite) refuses(ctx context.Context, generation int64, u oprc.DeploymentUnit, during func(streamID string) error) (oprc.Command, string, error) {
	if err := s.p.RefuseReports(ctx); err != nil {
		return oprc.Command{}, "", err
	}
	c, id, err := s.dispatch(ctx, oprc.Deploy, generation, u)
	if err == nil {
		err = s.until(ctx, "command "+id+" is read", func() (bool, error) {
			d, err := s.p.Delivery(ctx, id)
			return d != rdb.Unread, err
		})
	}
	if err == nil {
		err = during(id)
	}
	if accepted := s.p.AcceptReports(context.WithoutCancel(ctx)); err == nil {
		err = accepted
	}
	return c, id, err
}

func (s *suite) checkRefused(ctx context.Context) (string, error) {
	c, id, err := s.refuses(ctx, 1, s.unit("refused", "a"), func(string) error { return pause(ctx, holdTime) })
	if err != nil {
		return "", err
	}
	began := time.Now()
	if _, err := s.says(ctx, c, outcomes...); err != nil {
		return "", broken("after Redis had refused reports: %v", err)
	}
	return fmt.Sprintf("the outcome came %s after Redis took reports again", round(time.Since(began))), s.acknowledges(ctx, id)
}

func (s *suite) checkRepeat(ctx context.Context) (string, error) {
	c, r, err := s.carriesOut(ctx, oprc.Deploy, 1, s.unit("repeat", "a"))
	if err != nil {
		return "", err
	}
	before := s.evidence(ctx, r)
	reports, err := s.statuses(ctx, c.ID)
	if err != nil {
		return "", err
	}
	for range 2 {
		id, err := s.p.Inject(ctx, rdb.CommandFields(c))
		if err != nil {
			return "", err
		}
		if err := s.acknowledges(ctx, id); err != nil {
			return "", err
		}
	}
	// What comes next was carried out after the repeats were.
	if _, _, err := s.carriesOut(ctx, oprc.Deploy, 1, s.unit("repeat-next", "a")); err != nil {
		return "", err
	}
	again, err := s.since(ctx, c.ID, len(reports))
	if err != nil {
		return "", err
	}
	return "2 repeats" + seenBy(before), s.unchanged(ctx, again, before, "a repeated command")
}

// unchanged says how reports show that something was done to what ran before.
func (s *suite) unchanged(ctx context.Context, reports []oprc.Report, before evidence, cause string) error {
	last := before.report
	for _, r := range reports {
		if r.Condition != before.report.Condition {
			return broken("%s made it report %s after %s", cause, r.Condition, before.report.Condition)
		}
		last = r
	}
	if other := s.evidence(ctx, last).otherThan(before); other != "" {
		return broken("%s restarted the workload: %s", cause, other)
	}
	return nil
}

func seenBy(e evidence) string {
	if e.witness != nil {
		return ", and the workload is the same instance"
	}
	return ", by its reports; the workload itself does not say"
}

func (s *suite) checkNewer(ctx context.Context) (string, error) {
	if _, _, err := s.dispatch(ctx, oprc.Deploy, 1, s.unit("newer", "a")); err != nil {
		return "", err
	}
	c, r, err := s.carriesOut(ctx, oprc.Deploy, 2, s.unit("newer", "b"))
	if err != nil {
		return "", err
	}
	if is, known := s.evidence(ctx, r).runs("b"); known && !is {
		return "", broken("generation 2 is reported %s, and the workload of generation 1 answers", r.Condition)
	}
	return "", s.lastIs(ctx, c.ID, 2)
}

// lastIs says whether the last report on a unit is of a generation.
func (s *suite) lastIs(ctx context.Context, id string, generation int64) error {
	reports, err := s.statuses(ctx, id)
	if err == nil && (len(reports) == 0 || reports[len(reports)-1].Generation != generation) {
		return broken("%s; generation %d was asked for last", lastOf(reports), generation)
	}
	return err
}

func (s *suite) checkOlder(ctx context.Context) (string, error) {
	old, _, err := s.carriesOut(ctx, oprc.Deploy, 1, s.unit("older", "a"))
	if err != nil {
		return "", err
	}
	c, _, err := s.carriesOut(ctx, oprc.Deploy, 2, s.unit("older", "b"))
	if err != nil {
		return "", err
	}
	before, err := s.statuses(ctx, c.ID)
	if err != nil {
		return "", err
	}
	id, err := s.p.Inject(ctx, rdb.CommandFields(old))
	if err != nil {
		return "", err
	}
	if err := s.acknowledges(ctx, id); err != nil {
		return "", err
	}
	if _, _, err := s.carriesOut(ctx, oprc.Deploy, 1, s.unit("older-next", "a")); err != nil {
		return "", err
	}
	again, err := s.since(ctx, c.ID, len(before))
	for _, r := range again {
		if r.Generation != 2 || r.Condition == oprc.Deploying {
			return "", broken("a command of generation 1 made it report %s of generation %d after generation 2", r.Condition, r.Generation)
		}
	}
	return "", err
}

func (s *suite) checkUndeploy(ctx context.Context) (string, error) {
	u := s.unit("undeploy", "a")
	// What the control plane knows of a unit whose record was lost.
	bare := oprc.DeploymentUnit{ID: u.ID, ClsKey: u.ClsKey, TargetEnv: u.TargetEnv, Functions: []oprc.UnitFunction{}}
	var up evidence
	for i, step := range []struct {
		op   oprc.Op
		unit oprc.DeploymentUnit
	}{{oprc.Deploy, u}, {oprc.Undeploy, u}, {oprc.Deploy, u}, {oprc.Undeploy, bare}} {
		_, r, err := s.carriesOut(ctx, step.op, int64(i+1), step.unit)
		if err != nil {
			return "", err
		}
		if step.op == oprc.Deploy {
			up = s.evidence(ctx, r)
			continue
		}
		if w := ask(ctx, up.report); w != nil && up.witness != nil && w.Instance == up.witness.Instance {
			return "", broken("DELETED was reported, and the workload still answers")
		}
	}
	_, _, err := s.carriesOut(ctx, oprc.Undeploy, 1, s.unit("undeploy-never", "a"))
	return "", err
}

// checkMalformed sends what no control plane sends, and then a good command.
func (s *suite) checkMalformed(ctx context.Context) (string, error) {
	good := rdb.CommandFields(command(oprc.Deploy, 1, s.unit("malformed", "a")))
	wrong := []map[string]string{{"type": "explode"}, {"id": ""}, {"generation": "many"}, {"unit": "{"}}
	for _, change := range wrong {
		entry := maps.Clone(good)
		maps.Copy(entry, change)
		id, err := s.p.Inject(ctx, entry)
		if err != nil {
			return "", err
		}
		if err := s.buried(ctx, id); err != nil {
			return "", err
		}
	}
	_, _, err := s.carriesOut(ctx, oprc.Deploy, 1, s.unit("malformed", "a"))
	return fmt.Sprintf("%d dead letters", len(wrong)), err
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

func (s *suite) checkForged(ctx context.Context) (string, error) {
	c, _, err := s.carriesOut(ctx, oprc.Deploy, 1, s.unit("forged", "a"))
	if err != nil {
		return "", err
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
			return "", err
		}
		if err := s.buried(ctx, id); err != nil {
			return "", err
		}
	}
	return "", s.lastIs(ctx, c.ID, 1)
}

func (s *suite) checkEnvironment(ctx context.Context) (string, error) {
	_, r, err := s.carriesOut(ctx, oprc.Deploy, 1, s.unit("environment", "a"))
	if err != nil {
		return "", err
	}
	w := ask(ctx, r)
	if w == nil {
		return "", unseenError("the workload does not answer GET /conformance, so its environment cannot be seen")
	}
	if got := w.Env[Precedence]; got != "config" {
		return "", broken("%s is %q in the workload: config.env wins over provision.docker.env", Precedence, got)
	}
	return Precedence + "=config", nil
}

func (s *suite) checkPeers(ctx context.Context) (string, error) {
	u := s.unit("peers", "a")
	_, r, err := s.carriesOut(ctx, oprc.Deploy, 1, u)
	if err != nil {
		return "", err
	}
	before := s.evidence(ctx, r)
	u.ReplicaCount, u.Peers = 2, []oprc.UnitPeer{{MemberID: 2, Env: "elsewhere", ReplicaID: 1}}
	_, r, err = s.carriesOut(ctx, oprc.Deploy, 2, u)
	if err != nil {
		return "", err
	}
	if now := s.evidence(ctx, r); before.witness != nil && now.otherThan(before) != "" {
		return "", broken("another peer restarted the workload: %s", now.otherThan(before))
	}
	return "generation 2" + seenBy(before), nil
}

func (s *suite) checkWellFormed(ctx context.Context) (string, error) {
	entries, err := s.p.Reports(ctx)
	for _, e := range entries {
		if e.Err != nil {
			return "", broken("report %s: %v: %v", e.ID, e.Err, e.Raw)
		}
	}
	return fmt.Sprintf("%d reports", len(entries)), err
}
