package plan_test

import (
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A ledger applies plans in memory, as strictly as the real one: what changes must be
// recorded as the plan says, generations must be the next ones, what is created must be
// absent.
type ledger struct {
	live  plan.Live
	units map[string]oprc.DeploymentUnit // that run, by id
}

func newLedger(envs ...oprc.EnvironmentState) *ledger {
	l := &ledger{
		live: plan.Live{
			Packages: map[string]oprc.PackageRecord{}, Environments: map[string]oprc.EnvironmentState{},
			Deployments: map[string]oprc.Deployment{}, Digests: map[string]oprc.ObjectDigest{},
			Units: map[string]map[string]oprc.UnitDigest{}, Statuses: map[string]map[string]oprc.Status{},
		},
		units: map[string]oprc.DeploymentUnit{},
	}
	for _, e := range envs {
		l.live.Environments[e.Spec.Name] = e
	}
	return l
}

// clone copies everything that apply writes.
func (l *ledger) clone() *ledger {
	c := &ledger{live: l.live, units: maps.Clone(l.units)}
	c.live.Packages, c.live.Environments = maps.Clone(l.live.Packages), maps.Clone(l.live.Environments)
	c.live.Deployments, c.live.Digests = maps.Clone(l.live.Deployments), maps.Clone(l.live.Digests)
	c.live.Units = map[string]map[string]oprc.UnitDigest{}
	for env, units := range l.live.Units {
		c.live.Units[env] = maps.Clone(units)
	}
	return c
}

// apply carries a plan out, unless what it rests on has moved.
func (l *ledger) apply(p *plan.Plan) error {
	if moved := p.Moved(l.live); len(moved) > 0 {
		return &oprc.ConflictError{Reason: "moved", Objects: moved}
	}
	if err := l.commit(p); err != nil {
		return err
	}
	return l.dispatch(p, func(string) bool { return true })
}

// commit writes the catalogue only: what is left of an apply that is killed next.
func (l *ledger) commit(p *plan.Plan) error {
	for _, c := range p.Changes {
		if err := l.write(p, c); err != nil {
			return fmt.Errorf("%s/%s: %w", c.Kind, c.Key, err)
		}
	}
	return nil
}

func (l *ledger) write(p *plan.Plan, c plan.Change) error {
	object := string(c.Kind) + "/" + c.Key
	switch c.Kind {
	case oprc.KindUnit:
		return nil
	case oprc.KindEnv:
		spec, stays := c.Doc().(oprc.Environment)
		if !stays {
			delete(l.live.Environments, c.Key)
			return nil
		}
		state := l.live.Environments[c.Key]
		state.Spec = spec
		state.Rev++
		state.Origin, state.Availability = p.Scope.Origin, state.Spec.Availability
		if state.Health == "" {
			state.Health = oprc.HealthUnknown
		}
		l.live.Environments[c.Key] = state
		return nil
	case oprc.KindPackage:
		l.writePackage(p, c)
	case oprc.KindDeployment:
		delete(l.live.Deployments, c.Key)
		if d, stays := c.Doc().(oprc.Deployment); stays {
			l.live.Deployments[c.Key] = d
		}
	}
	was, stored := l.live.Digests[object]
	if stored == slices.Contains(c.Actions, plan.Create) {
		return fmt.Errorf("%v, but stored is %v", c.Actions, stored)
	}
	delete(l.live.Digests, object)
	if c.Doc() != nil {
		l.live.Digests[object] = oprc.ObjectDigest{Rev: was.Rev + 1, Hash: oprc.Digest(c.Doc()), Blob: c.Blob}
	}
	return nil
}

func (l *ledger) writePackage(p *plan.Plan, c plan.Change) {
	was := l.live.Packages[c.Key]
	delete(l.live.Packages, c.Key)
	spec, stays := c.Doc().(oprc.Package)
	if !stays {
		return
	}
	rec := oprc.PackageRecord{Spec: spec, Rev: was.Rev + 1, Origin: p.Scope.Origin, Source: c.Source}
	if c.Source == nil {
		rec.Origin, rec.Source = was.Origin, was.Source
	}
	rec.Digest = oprc.Digest(rec.Spec)
	l.live.Packages[c.Key] = rec
}

// dispatch sends the commands of units for which heard is true.
func (l *ledger) dispatch(p *plan.Plan, heard func(id string) bool) error {
	for env, cmds := range p.Commands() {
		if l.live.Units[env] == nil {
			l.live.Units[env] = map[string]oprc.UnitDigest{}
		}
		for _, cmd := range cmds {
			was := l.live.Units[env][cmd.ID]
			if cmd.Generation != was.Generation+1 {
				return fmt.Errorf("unit %s: generation %d after %d", cmd.ID, cmd.Generation, was.Generation)
			}
			if cmd.Type == oprc.Undeploy && !was.Runs() {
				return fmt.Errorf("unit %s: undeployed twice", cmd.ID)
			}
			if !heard(cmd.ID) {
				continue
			}
			next := oprc.UnitDigest{Generation: cmd.Generation}
			delete(l.units, cmd.ID)
			if cmd.Type == oprc.Deploy {
				next.SpecHash = oprc.Digest(cmd.Unit)
				l.units[cmd.ID] = cmd.Unit
			}
			l.live.Units[env][cmd.ID] = next
		}
	}
	return nil
}

// must plans and applies, and fails the test on any finding that is an error.
func (l *ledger) must(t rapid.TB, in plan.Input) *plan.Plan {
	t.Helper()
	in.Live = l.live
	p := plan.Make(in).Explain()
	if err := p.Err(); err != nil {
		t.Fatalf("plan: %v", err)
	}
	if err := l.apply(p); err != nil {
		t.Fatalf("apply: %v", err)
	}
	if off := p.Diverged(l.live); len(off) > 0 {
		t.Fatalf("after applying, these are not what was predicted: %v", off)
	}
	return p
}

// environment is a healthy, registered environment.
func environment(name string, availability float64) oprc.EnvironmentState {
	return oprc.EnvironmentState{
		EnvironmentRecord: oprc.EnvironmentRecord{Spec: oprc.Environment{Name: name, Availability: availability}, Rev: 1},
		Health:            oprc.Healthy, Availability: availability,
	}
}

// document is a package as if read from a file. Its positions spell the pointer
// that was asked for.
func document(p oprc.Package) oprc.Document {
	path := p.Name + ".yaml"
	return oprc.Document{Package: &p, Path: path, Where: where(path)}
}

func where(path string) oprc.Locator {
	return func(ptr string) oprc.Position {
		return oprc.Position{File: path + "#" + ptr, Line: 1 + len(ptr), Column: 1}
	}
}

func envDocument(e oprc.Environment) oprc.Document {
	path := "env-" + e.Name + ".yaml"
	return oprc.Document{Environment: &e, Path: path, Where: where(path)}
}

func documents(packages ...oprc.Package) []oprc.Document {
	docs := make([]oprc.Document, 0, len(packages))
	for _, p := range packages {
		docs = append(docs, document(p))
	}
	return docs
}
