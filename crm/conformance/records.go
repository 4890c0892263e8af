package conformance

import (
	"context"
	"fmt"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// What a CRM does from the records: at its start, from time to time, and after a loss.

func (s *suite) checkRecords(ctx context.Context) (string, error) {
	var c oprc.Command
	err := s.away(ctx, func() (err error) {
		if c, _, err = s.dispatch(ctx, oprc.Deploy, 1, s.unit("records", "a")); err != nil {
			return err
		}
		return s.p.DropCommands(ctx)
	})
	if err != nil {
		return "", err
	}
	_, err = s.says(ctx, c, outcomes...)
	return "", err
}

func (s *suite) checkRecordsGone(ctx context.Context) (string, error) {
	u := s.unit("records-gone", "a")
	if _, _, err := s.carriesOut(ctx, oprc.Deploy, 1, u); err != nil {
		return "", err
	}
	var c oprc.Command
	err := s.away(ctx, func() (err error) {
		if c, _, err = s.dispatch(ctx, oprc.Undeploy, 2, u); err != nil {
			return err
		}
		return s.p.DropCommands(ctx)
	})
	if err != nil {
		return "", err
	}
	_, err = s.says(ctx, c, oprc.Deleted)
	return "", err
}

// checkBacklog lets the CRM find a command under its own name that it has not
// acknowledged.
func (s *suite) checkBacklog(ctx context.Context) (string, error) {
	var beats []oprc.ReportEntry
	err := s.until(ctx, "a heartbeat, which says its name", func() (_ bool, err error) {
		beats, err = s.beats(ctx)
		return len(beats) > 0, err
	})
	if err != nil {
		return "", err
	}
	var c oprc.Command
	var id string
	err = s.away(ctx, func() (err error) {
		if c, id, err = s.dispatch(ctx, oprc.Deploy, 1, s.unit("own-backlog", "a")); err != nil {
			return err
		}
		return s.p.Abandon(ctx, beats[len(beats)-1].Report.CRM, 0)
	})
	if err != nil {
		return "", err
	}
	if _, err := s.says(ctx, c, outcomes...); err != nil {
		return "", err
	}
	return "", s.acknowledges(ctx, id)
}

// checkAbandoned leaves a command with a colleague that died, while the CRM runs.
func (s *suite) checkAbandoned(ctx context.Context) (string, error) {
	if _, _, err := s.carriesOut(ctx, oprc.Deploy, 1, s.unit("abandoned", "a")); err != nil {
		return "", err
	}
	c := command(oprc.Deploy, 2, s.unit("abandoned", "b"))
	began := time.Now()
	id, err := s.p.DispatchTo(ctx, "conformance-dead", c, time.Hour)
	if err != nil {
		return "", err
	}
	patience := s.Lease + s.Patience
	if err := s.acknowledgesWithin(ctx, patience, id); err != nil {
		return "", broken("a command that a dead colleague has pending: %v", err)
	}
	took := time.Since(began)
	_, err = s.saysWithin(ctx, patience, c, outcomes...)
	return fmt.Sprintf("after %s", round(took)), err
}

// checkReread puts another record in place of a unit's, as a restore of an older Redis
// does: no command says so, and the group is still there.
func (s *suite) checkReread(ctx context.Context) (string, error) {
	for generation := int64(1); generation <= 2; generation++ {
		if _, _, err := s.carriesOut(ctx, oprc.Deploy, generation, s.unit("reread", string(rune('a'+generation)))); err != nil {
			return "", err
		}
	}
	c := command(oprc.Deploy, 1, s.unit("reread", "restored"))
	began := time.Now()
	if err := s.p.Record(ctx, c); err != nil {
		return "", err
	}
	r, err := s.saysWithin(ctx, readEvery+s.Patience, c, outcomes...)
	if err != nil {
		return "", err
	}
	if is, known := s.evidence(ctx, r).runs("restored"); known && !is {
		return "", broken("the restored spec is reported %s, and another workload answers", r.Condition)
	}
	return fmt.Sprintf("after %s", round(time.Since(began))), nil
}

// readEvery is how often records are read for safety's sake.
const readEvery = 30 * time.Second

// checkLoss loses all data and dispatches again: generations begin again at 1.
func (s *suite) checkLoss(ctx context.Context) (string, error) {
	for generation := int64(1); generation <= 3; generation++ {
		if _, _, err := s.carriesOut(ctx, oprc.Deploy, generation, s.unit("loss", string(rune('a'+generation)))); err != nil {
			return "", err
		}
	}
	if _, err := s.checkWellFormed(ctx); err != nil { // before the reports are gone
		return "", err
	}
	if err := s.p.Lose(ctx); err != nil {
		return "", err
	}
	_, r, err := s.carriesOut(ctx, oprc.Deploy, 1, s.unit("loss", "again"))
	if err != nil {
		return "", broken("after a loss, with a record of generation 1: %v", err)
	}
	if is, known := s.evidence(ctx, r).runs("again"); known && !is {
		return "", broken("generation 1 after a loss is reported %s, and the workload of before answers", r.Condition)
	}
	return "generation 1 after 3", nil
}

// checkLossKeeps loses all data and lets some time pass before the same record is back.
func (s *suite) checkLossKeeps(ctx context.Context) (string, error) {
	u := s.unit("loss-keeps", "a")
	_, r, err := s.carriesOut(ctx, oprc.Deploy, 1, u)
	if err != nil {
		return "", err
	}
	before := s.evidence(ctx, r)
	if err := s.p.Lose(ctx); err != nil {
		return "", err
	}
	if err := s.until(ctx, "group crm after a loss", func() (bool, error) { return s.p.Joined(ctx) }); err != nil {
		return "", err
	}
	if err := pause(ctx, holdTime); err != nil { // an empty ledger is no order to stop
		return "", err
	}
	c, _, err := s.carriesOut(ctx, oprc.Deploy, 1, u)
	if err != nil {
		return "", err
	}
	reports, err := s.statuses(ctx, c.ID)
	if err != nil {
		return "", err
	}
	return "RUNNING all the time" + seenBy(before), s.unchanged(ctx, reports, before, "the loss of all records")
}

// checkIdentity has another spec come under a generation that was carried out.
func (s *suite) checkIdentity(ctx context.Context) (string, error) {
	before, _, err := s.carriesOut(ctx, oprc.Deploy, 1, s.unit("identity", "a"))
	if err != nil {
		return "", err
	}
	saysDeploying, err := s.saidDeploying(ctx, before)
	if err != nil {
		return "", err
	}
	if err := s.p.Lose(ctx); err != nil {
		return "", err
	}
	c, r, err := s.carriesOut(ctx, oprc.Deploy, 1, s.unit("identity", "b"))
	if err != nil {
		return "", broken("another spec under the same generation: %v", err)
	}
	is, known := s.evidence(ctx, r).runs("b")
	if known && !is {
		return "", broken("it reports the new specHash %s, and the old workload answers", short(c.SpecHash))
	}
	again, err := s.saidDeploying(ctx, c)
	if err == nil && !known && saysDeploying && !again {
		return "", broken("it took another spec under the same generation for a repeat: it deployed nothing, and reports the new specHash")
	}
	return "the new spec was deployed", err
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
