// Package crmtest drives a CRM over Redis, ours or one in another language, and
// says which rules of the protocol it keeps (docs/protocol.md).
//
// It plays the control plane in an environment of its own, in which nothing but
// the CRM under test may work: everything in that environment is deleted.
package crmtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// Options say where the CRM under test works.
type Options struct {
	Redis    string // URL
	Env      string // environment; default "conformance"
	Database string // key prefix N; default "oaas_pm"
	Topic    string // topic prefix T; default "oaas.pm"

	// Start starts the CRM under test; stop ends it and waits. Without it the CRM is
	// expected to be running, and rules about its start are not checked.
	Start func(ctx context.Context) (stop func() error, err error)
	// Image is what the units run; default "registry.example/conformance:1".
	Image string
	// Patience is how long the CRM may take to do anything; default 20 s.
	Patience time.Duration
}

// The verdicts on a rule.
const (
	Kept       = "kept"
	Broken     = "BROKEN"
	NotChecked = "not checked"
)

// A Finding is the verdict on one rule.
type Finding struct {
	Rule    string // its name in docs/protocol.md
	Must    bool   // else the rule is advice
	Verdict string
	Reason  string
}

// A Result is the verdict on a CRM.
type Result []Finding

// Broken returns the rules that a CRM must keep and does not.
func (r Result) Broken() Result {
	var out Result
	for _, f := range r {
		if f.Must && f.Verdict == Broken {
			out = append(out, f)
		}
	}
	return out
}

// Run checks all rules, one after the other, and prints each verdict. It fails
// only if it could not check.
func Run(ctx context.Context, w io.Writer, o Options) (Result, error) {
	s, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer s.close()
	var result Result
	for _, rule := range rules {
		f := Finding{Rule: rule.name, Must: rule.must, Verdict: Kept}
		if rule.restarts && o.Start == nil {
			f.Verdict, f.Reason = NotChecked, "needs Start"
		} else if err := rule.check(s, ctx); err != nil {
			if ctx.Err() != nil {
				return result, ctx.Err()
			}
			var broken brokenError
			if !errors.As(err, &broken) {
				return result, fmt.Errorf("rule %s: %w", rule.name, err)
			}
			f.Verdict, f.Reason = Broken, broken.Error()
		}
		result = append(result, f)
		if err := printFinding(w, f, rule.says); err != nil {
			return result, err
		}
	}
	_, err = fmt.Fprintf(w, "%d rules, %d broken\n", len(result), len(result.Broken()))
	return result, err
}

func printFinding(w io.Writer, f Finding, says string) error {
	level := "must"
	if !f.Must {
		level = "should"
	}
	_, err := fmt.Fprintf(w, "%-11s  %-6s  %-15s  %s\n", f.Verdict, level, f.Rule, says)
	if err == nil && f.Reason != "" {
		_, err = fmt.Fprintf(w, "%38s%s\n", "", f.Reason)
	}
	return err
}

// Test runs the suite as a test: each rule that must be kept and is not fails it.
func Test(t *testing.T, o Options) {
	t.Helper()
	result, err := Run(t.Context(), t.Output(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range result.Broken() {
		t.Errorf("rule %s: %s", f.Rule, f.Reason)
	}
}

// A brokenError says how the CRM broke a rule.
type brokenError string

func (e brokenError) Error() string { return string(e) }

func broken(format string, args ...any) error { return brokenError(fmt.Sprintf(format, args...)) }

// A suite is one run.
type suite struct {
	Options
	db   *rdb.DB
	p    rdb.Probe
	stop func() error
}

func open(ctx context.Context, o Options) (*suite, error) {
	for _, d := range []struct {
		value    *string
		standard string
	}{{&o.Env, "conformance"}, {&o.Database, "oaas_pm"}, {&o.Topic, "oaas.pm"}, {&o.Image, "registry.example/conformance:1"}} {
		if *d.value == "" {
			*d.value = d.standard
		}
	}
	if o.Patience <= 0 {
		o.Patience = 20 * time.Second
	}
	db, err := rdb.Open(ctx, rdb.Options{URL: o.Redis, Keys: rdb.Keys{N: o.Database, T: o.Topic}})
	if err != nil {
		return nil, err
	}
	s := &suite{Options: o, db: db, p: rdb.Probe{DB: db, Env: o.Env}}
	if o.Start == nil {
		return s, nil
	}
	if err := s.p.Lose(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	return s, nil
}

func (s *suite) start(ctx context.Context) error {
	stop, err := s.Start(ctx)
	if err != nil {
		return fmt.Errorf("start the CRM: %w", err)
	}
	s.stop = stop
	return nil
}

// halt ends the CRM under test.
func (s *suite) halt() error {
	if s.stop == nil {
		return nil
	}
	stop := s.stop
	s.stop = nil
	if err := stop(); err != nil {
		return broken("the CRM did not end well: %v", err)
	}
	return nil
}

func (s *suite) close() {
	_ = s.halt()
	_ = s.db.Close()
}

// unit is the unit that a rule is tried on; variant makes another spec of it.
func (s *suite) unit(rule, variant string) oprc.DeploymentUnit {
	return oprc.DeploymentUnit{
		ID: oprc.UnitID("conformance."+rule, 0, 0, s.Env), ClsKey: "conformance." + rule, TargetEnv: s.Env, MemberID: 1,
		Functions: []oprc.UnitFunction{{
			Key: "conformance." + rule + ".fn", Image: s.Image,
			Config: oprc.FunctionConfig{Env: oprc.Env{"VARIANT": {Text: variant}, "TEXT": {Text: "quotes \" and lines\n"}}},
		}},
	}
}

// dispatch sends a command as the control plane does, and returns its stream id.
func (s *suite) dispatch(ctx context.Context, op oprc.Op, generation int64, u oprc.DeploymentUnit) (oprc.Command, string, error) {
	c := oprc.Command{
		Type: op, ID: u.ID, Generation: generation, SpecHash: oprc.Digest(u), Revision: "conformance",
		Time: time.Now().UTC(), Unit: u,
	}
	if err := s.db.Dispatch(ctx, s.Env, []oprc.Command{c}, 0); err != nil {
		return c, "", err
	}
	id, err := s.p.Last(ctx)
	return c, id, err
}

// until asks again and again until done, or patience is at an end; then what it
// waited for was broken.
func (s *suite) until(ctx context.Context, what string, done func() (bool, error)) error {
	deadline := time.Now().Add(s.Patience)
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return broken("%s: not within %s", what, s.Patience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
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

// says waits for a report of c's generation with one of the conditions.
func (s *suite) says(ctx context.Context, c oprc.Command, conditions ...oprc.Condition) error {
	return s.until(ctx, fmt.Sprintf("%s generation %d: report of %v", c.ID, c.Generation, conditions), func() (bool, error) {
		reports, err := s.statuses(ctx, c.ID)
		for _, r := range reports {
			for _, want := range conditions {
				if r.Generation == c.Generation && r.Condition == want {
					return true, nil
				}
			}
		}
		return false, err
	})
}

// acknowledges waits until a command is.
func (s *suite) acknowledges(ctx context.Context, streamID string) error {
	return s.until(ctx, "acknowledgement of "+streamID, func() (bool, error) {
		d, err := s.p.Delivery(ctx, streamID)
		return d == rdb.Acknowledged, err
	})
}
