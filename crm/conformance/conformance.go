// Package conformance drives a CRM over Redis, ours or one in another language, and
// says which rules of the protocol it keeps (docs/protocol.md).
//
// It plays the control plane in an environment of its own, in which nothing but
// the CRM under test may work: everything in that environment is deleted.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	// Lease is the time after which commands that a CRM left alone count as abandoned;
	// default 30 s. A CRM that is set to another one is checked faster.
	Lease time.Duration
	// Rules are the names of those to check; none: all.
	Rules []string
	// Observe, if set, is called before each rule, and with its finding when it was checked.
	Observe func(Step)
}

// A Step is one rule on its way.
type Step struct {
	Number, Of int // counts from 1
	Rule       string
	Finding    *Finding // nil: it is being checked
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
	Says    string // what it asks of a CRM
	Section string // anchor in docs/protocol.md
	Must    bool   // else the rule is advice
	Verdict string
	Seen    string // what the verdict rests on
	Took    time.Duration
}

// A Result is the verdict on a CRM.
type Result []Finding

// Broken returns the rules that a CRM must keep and does not.
func (r Result) Broken() Result {
	return slices.DeleteFunc(slices.Clone(r), func(f Finding) bool { return !f.Must || f.Verdict != Broken })
}

// Rules returns all rules, without verdicts.
func Rules() Result {
	all := make(Result, len(rules))
	for i, r := range rules {
		all[i] = r.finding()
	}
	return all
}

func (r rule) finding() Finding {
	return Finding{Rule: r.name, Says: r.says, Section: r.section, Must: r.must, Verdict: NotChecked}
}

// Run checks rules, one after the other. It fails only if it could not check.
func Run(ctx context.Context, o Options) (Result, error) {
	for _, name := range o.Rules {
		if !slices.ContainsFunc(rules, func(r rule) bool { return r.name == name }) {
			return nil, fmt.Errorf("%w: there is no rule %q", oprc.ErrInvalid, name)
		}
	}
	s, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer s.close(ctx)
	chosen := slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return !s.checks(r.name) })
	var result Result
	for i, rule := range chosen {
		s.observe(Step{Number: i + 1, Of: len(chosen), Rule: rule.name})
		f, err := s.check(ctx, rule)
		if err != nil {
			return result, err
		}
		result = append(result, f)
		s.observe(Step{Number: i + 1, Of: len(chosen), Rule: rule.name, Finding: &f})
	}
	return result, nil
}

// checks reports whether a rule is among those to check.
func (s *suite) checks(name string) bool { return len(s.Rules) == 0 || slices.Contains(s.Rules, name) }

func (s *suite) observe(step Step) {
	if s.Observe != nil {
		s.Observe(step)
	}
}

// check checks one rule.
func (s *suite) check(ctx context.Context, r rule) (Finding, error) {
	f := r.finding()
	if r.restarts && s.Start == nil {
		f.Seen = "the suite did not start this CRM, and cannot restart it"
		return f, nil
	}
	began := time.Now()
	seen, err := r.check(s, ctx)
	f.Verdict, f.Seen, f.Took = Kept, seen, time.Since(began)
	if cause := context.Cause(ctx); cause != nil {
		return f, cause
	}
	broken, isBroken := errors.AsType[brokenError](err)
	unseen, isUnseen := errors.AsType[unseenError](err)
	switch {
	case isBroken:
		f.Verdict, f.Seen = Broken, string(broken)
	case isUnseen:
		f.Verdict, f.Seen = NotChecked, string(unseen)
	case err != nil:
		return f, fmt.Errorf("rule %s: %w", r.name, err)
	}
	return f, nil
}

// A brokenError says how the CRM broke a rule.
type brokenError string

func (e brokenError) Error() string { return string(e) }

func broken(format string, args ...any) error { return brokenError(fmt.Sprintf(format, args...)) }

// An unseenError says why nothing can be said about a rule.
type unseenError string

func (e unseenError) Error() string { return string(e) }

// A suite is one run.
type suite struct {
	Options
	db   *rdb.DB
	p    rdb.Probe
	stop func() error
	slow *slowStart // of the unit that takes long to start; nil until it was tried
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
	if o.Lease <= 0 {
		o.Lease = 30 * time.Second
	}
	db, err := rdb.Open(ctx, rdb.Options{URL: o.Redis, Keys: rdb.Keys{N: o.Database, T: o.Topic}})
	if err != nil {
		return nil, err
	}
	s := &suite{Options: o, db: db, p: rdb.Probe{DB: db, Env: o.Env}}
	if err := s.begin(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	return s, nil
}

// begin empties the environment, unless somebody else uses it, and starts the CRM.
func (s *suite) begin(ctx context.Context) error {
	records, err := s.db.UnitDigests(ctx, s.Env)
	if err != nil {
		return err
	}
	for id := range records {
		if pkg, _, _, _, ok := oprc.ParseUnitID(id); !ok || !ours(pkg) {
			return fmt.Errorf("environment %q is in use: it has unit %s; the conformance suite deletes everything in its environment", s.Env, id)
		}
	}
	if s.Start == nil {
		return nil
	}
	if err := s.p.Lose(ctx); err != nil {
		return err
	}
	return s.start(ctx)
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

// close ends the CRM and deletes what the suite and the CRM wrote.
func (s *suite) close(ctx context.Context) {
	_ = s.halt()
	if s.Start != nil {
		_ = s.p.Lose(context.WithoutCancel(ctx))
	}
	_ = s.db.Close()
}
