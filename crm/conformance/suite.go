package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// Environment variables of the units. A workload may honour them.
const (
	// StartDelay is how many seconds the workload takes to become ready.
	StartDelay = "CONFORMANCE_START_DELAY"
	// Variant is another text for another spec of the same unit.
	Variant = "CONFORMANCE_VARIANT"
	// Precedence is "provision" in the provision's environment, and "config" in the
	// function's own, which wins.
	Precedence = "CONFORMANCE_PRECEDENCE"
)

const classes = "conformance."

func ours(clsKey string) bool { return strings.HasPrefix(clsKey, classes) }

// unit is the unit that a rule is tried on; variant makes another spec of it.
func (s *suite) unit(rule, variant string) oprc.DeploymentUnit {
	class := classes + rule
	return oprc.DeploymentUnit{
		Protocol: oprc.Protocol,
		ID:       oprc.UnitID(class, 0, 0, s.Env), ClsKey: class, TargetEnv: s.Env, MemberID: 1,
		PartitionCount: 1, ReplicaCount: 1, Primary: true,
		Functions: []oprc.UnitFunction{{
			Key: class + ".fn", Image: s.Image,
			Config: oprc.FunctionConfig{Env: oprc.Env{
				Variant: {Text: variant}, Precedence: {Text: "config"}, "TEXT": {Text: "quotes \" and lines\n"},
			}},
		}},
		Bindings:  []oprc.UnitBinding{{Name: "fn", Function: class + ".fn", Access: oprc.Public}},
		Provision: map[string]oprc.Provision{class + ".fn": {Docker: &oprc.Docker{Image: s.Image, Env: oprc.Env{Precedence: {Text: "provision"}}}}},
	}
}

func command(op oprc.Op, generation int64, u oprc.DeploymentUnit) oprc.Command {
	return oprc.Command{
		Type: op, ID: u.ID, Generation: generation, SpecHash: oprc.Digest(u), Revision: "conformance",
		Time: time.Now().UTC(), Unit: u,
	}
}

// dispatch sends a command as the control plane does, and returns its stream id.
func (s *suite) dispatch(ctx context.Context, op oprc.Op, generation int64, u oprc.DeploymentUnit) (oprc.Command, string, error) {
	c := command(op, generation, u)
	id, err := s.p.Dispatch(ctx, c)
	return c, id, err
}

// until asks again and again until done, or patience is at an end; then what it
// waited for was broken.
func (s *suite) until(ctx context.Context, what string, done func() (bool, error)) error {
	return s.within(ctx, s.Patience, what, done)
}

func (s *suite) within(ctx context.Context, patience time.Duration, what string, done func() (bool, error)) error {
	deadline := time.Now().Add(patience)
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return broken("%s: not within %s", what, patience)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// statuses returns the reports on a unit.
func (s *suite) statuses(ctx context.Context, id string) ([]oprc.Report, error) {
	entries, err := s.p.Reports(ctx)
	var out []oprc.Report
	for _, e := range entries {
		if e.Err == nil && e.Report.Type == oprc.ReportStatus && e.Report.ID == id {
			out = append(out, e.Report)
		}
	}
	return out, err
}

var outcomes = []oprc.Condition{oprc.Running, oprc.Down}

// says waits for a report on what c asked for with one of the conditions.
func (s *suite) says(ctx context.Context, c oprc.Command, conditions ...oprc.Condition) (oprc.Report, error) {
	return s.saysWithin(ctx, s.Patience, c, conditions...)
}

func (s *suite) saysWithin(ctx context.Context, patience time.Duration, c oprc.Command, conditions ...oprc.Condition) (oprc.Report, error) {
	var found oprc.Report
	var reports []oprc.Report
	err := s.within(ctx, patience, "", func() (_ bool, err error) {
		reports, err = s.statuses(ctx, c.ID)
		for _, r := range reports {
			if answers(r, c) && slices.Contains(conditions, r.Condition) {
				found = r
				return true, nil
			}
		}
		return false, err
	})
	if _, late := err.(brokenError); late { //nolint:errorlint // within returns it bare
		return found, broken("no report of %s on %s generation %d with its specHash within %s; %s", words(conditions), c.ID, c.Generation, patience, lastOf(reports))
	}
	return found, err
}

// answers reports whether r is about what c asked for. DELETED may have no specHash.
func answers(r oprc.Report, c oprc.Command) bool {
	return r.Generation == c.Generation && (r.SpecHash == c.SpecHash || c.Type == oprc.Undeploy)
}

func words(conditions []oprc.Condition) string {
	texts := make([]string, len(conditions))
	for i, c := range conditions {
		texts[i] = string(c)
	}
	return strings.Join(texts, " or ")
}

func lastOf(reports []oprc.Report) string {
	if len(reports) == 0 {
		return "there is no report on it"
	}
	r := reports[len(reports)-1]
	return fmt.Sprintf("the last was %s of generation %d, specHash %s %s", r.Condition, r.Generation, short(r.SpecHash), r.ErrorMsg)
}

func short(hash string) string { return hash[:min(len(hash), 15)] }

// acknowledges waits until a command is.
func (s *suite) acknowledges(ctx context.Context, streamID string) error {
	return s.acknowledgesWithin(ctx, s.Patience, streamID)
}

func (s *suite) acknowledgesWithin(ctx context.Context, patience time.Duration, streamID string) error {
	var d rdb.Delivery
	err := s.within(ctx, patience, "", func() (_ bool, err error) {
		d, err = s.p.Delivery(ctx, streamID)
		return d == rdb.Acknowledged, err
	})
	if _, late := err.(brokenError); late { //nolint:errorlint // within returns it bare
		return broken("command %s is not acknowledged within %s: %s", streamID, patience, d)
	}
	return err
}

// carriesOut dispatches a command and waits for its outcome and its acknowledgement.
func (s *suite) carriesOut(ctx context.Context, op oprc.Op, generation int64, u oprc.DeploymentUnit) (oprc.Command, oprc.Report, error) {
	c, id, err := s.dispatch(ctx, op, generation, u)
	if err != nil {
		return c, oprc.Report{}, err
	}
	wanted := outcomes
	if op == oprc.Undeploy {
		wanted = []oprc.Condition{oprc.Deleted}
	}
	r, err := s.says(ctx, c, wanted...)
	if err != nil {
		return c, r, err
	}
	return c, r, s.acknowledges(ctx, id)
}

// since returns the reports on a unit after the first n.
func (s *suite) since(ctx context.Context, id string, n int) ([]oprc.Report, error) {
	reports, err := s.statuses(ctx, id)
	return reports[min(n, len(reports)):], err
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
