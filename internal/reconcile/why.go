package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// A Cause is one link in the chain of what an object waits for.
type Cause struct {
	Kind   oprc.Kind `json:"kind"`
	Key    string    `json:"key"`
	State  string    `json:"state"`            // as it is
	Reason string    `json:"reason,omitempty"` // why it is so
	Next   []string  `json:"next,omitempty"`   // words of a command that changes it, without the program's name
}

// An Explanation is the shortest chain of causes of an object's state: each link is
// so because of the one after it. Good means that nothing is to be done.
type Explanation struct {
	Good   bool    `json:"good"`
	Causes []Cause `json:"causes"`
}

// Why explains the state of an object: a package, a deployment, a unit, a source or
// an environment; without a kind, the first of these that has the key. What is
// not there, and is not kept from being there by a source, is an oprc.ErrNotFound.
func Why(ctx context.Context, from Lister, kind oprc.Kind, key string, now time.Time) (Explanation, error) {
	w := &inquiry{now: now}
	for _, k := range []oprc.Kind{oprc.KindPackage, oprc.KindDeployment, oprc.KindUnit, oprc.KindSource, oprc.KindEnv} {
		list, err := from.List(ctx, k)
		if err != nil {
			return Explanation{}, err
		}
		for _, o := range list {
			w.add(o)
		}
	}
	w.queue = func(env string) *oprc.CommandQueue {
		queues, ok := from.(interface {
			CommandQueue(ctx context.Context, env string) (oprc.CommandQueue, error)
		})
		if !ok {
			return nil // it is asked from far away
		}
		q, err := queues.CommandQueue(ctx, env)
		if err != nil {
			return nil // the state is explained without it
		}
		return &q
	}
	if !w.explain(kind, key) {
		return Explanation{}, fmt.Errorf("%s: %w", strings.TrimPrefix(string(kind)+" "+key, " "), oprc.ErrNotFound)
	}
	e := Explanation{Good: true, Causes: w.causes}
	for _, c := range w.causes {
		e.Good = e.Good && len(c.Next) == 0 && c.Reason == ""
	}
	return e, nil
}

// An inquiry holds what there is, and the chain that was found.
type inquiry struct {
	now          time.Time
	packages     []*PackageView
	deployments  []*DeploymentView
	units        []*UnitView
	sources      []*oprc.SourceStatus
	environments []*EnvironmentView
	queue        func(env string) *oprc.CommandQueue // nil if it is not known
	causes       []Cause
}

func (w *inquiry) add(o Object) {
	switch d := o.Doc.(type) {
	case *PackageView:
		w.packages = append(w.packages, d)
	case *DeploymentView:
		w.deployments = append(w.deployments, d)
	case *UnitView:
		w.units = append(w.units, d)
	case *oprc.SourceStatus:
		w.sources = append(w.sources, d)
	case *EnvironmentView:
		w.environments = append(w.environments, d)
	}
}

func (w *inquiry) because(kind oprc.Kind, key, state, reason string, next ...string) {
	w.causes = append(w.causes, Cause{Kind: kind, Key: key, State: state, Reason: reason, Next: next})
}

// explain reports whether there is something to explain.
func (w *inquiry) explain(kind oprc.Kind, key string) bool {
	whatever := kind == ""
	if whatever || kind == oprc.KindPackage {
		for _, p := range w.packages {
			if p.Name == key {
				w.pkg(p)
				return true
			}
		}
		if w.keptOut(key) {
			return true
		}
	}
	for _, d := range w.deployments {
		if d.Key == key && (whatever || kind == oprc.KindDeployment) {
			w.deployment(d)
			return true
		}
	}
	for _, u := range w.units {
		if u.Unit.ID == key && (whatever || kind == oprc.KindUnit) {
			w.unit(u)
			return true
		}
	}
	for _, s := range w.sources {
		if s.Name == key && (whatever || kind == oprc.KindSource) {
			w.source(s)
			return true
		}
	}
	for _, e := range w.environments {
		if e.Name == key && (whatever || kind == oprc.KindEnv) {
			w.environment(e)
			return true
		}
	}
	return false
}

// pkg explains what its source does not carry out; else its worst deployment.
func (w *inquiry) pkg(p *PackageView) {
	w.because(oprc.KindPackage, p.Name, fmt.Sprintf("revision %d by %s", p.Rev, cmp.Or(p.AppliedBy, "somebody")), damage(p.Damaged))
	claimed := w.claims(p)
	if name, ok := strings.CutPrefix(p.Origin, originGit); ok {
		i := slices.IndexFunc(w.sources, func(s *oprc.SourceStatus) bool { return s.Name == name })
		switch {
		case i < 0 && claimed:
		case i < 0:
			w.because(oprc.KindSource, name, "no daemon follows it: what it applied stays, and is free for everybody to change or to delete", "")
		case w.kept(w.sources[i], p.Name), w.stopped(w.sources[i]):
			return
		}
	}
	worst := oprc.Condition("")
	var at *DeploymentView
	for _, d := range w.deployments {
		if d.Pkg == p.Name && (at == nil || Worst(worst, d.Condition) != worst) {
			worst, at = d.Condition, d
		}
	}
	if at != nil {
		w.deployment(at)
	}
}

// damage says of records that they are lost or altered; "" where none is.
func damage(objects []string) string {
	if len(objects) == 0 {
		return ""
	}
	return "records are lost or altered: " + enumerate(objects) + "; a daemon writes what it can within a tick, oprc doctor says what to do about the rest"
}

// claims names the sources that have the package as well, in vain: it is another's. It
// reports whether there is one.
func (w *inquiry) claims(p *PackageView) (claimed bool) {
	for _, s := range w.sources {
		if originGit+s.Name != p.Origin && slices.Contains(s.Kept, p.Name) {
			w.because(oprc.KindSource, s.Name, "at revision "+s.Revision, fmt.Sprintf(
				"its files hold package %s as well, which is owned by %s; `oprc adopt %[1]s --by %[3]s` hands it over", p.Name, p.Origin, s.Name), "adopt", p.Name, "--by", s.Name)
			claimed = true
		}
	}
	return claimed
}

// keptOut explains a package that is not there because its source refuses it.
func (w *inquiry) keptOut(key string) bool {
	for _, s := range w.sources {
		named := slices.ContainsFunc(s.Findings, func(d oprc.Diagnostic) bool { return d.Package == key })
		if named || slices.Contains(s.Kept, key) {
			w.because(oprc.KindPackage, key, "not applied", "source "+s.Name+" refuses what its files say")
			return w.kept(s, key)
		}
	}
	return false
}

// kept explains a package that stays as it is although its source moved on.
func (w *inquiry) kept(s *oprc.SourceStatus, pkg string) bool {
	switch {
	case slices.Contains(s.Quarantined, pkg):
		w.because(oprc.KindSource, s.Name, "at revision "+s.Revision,
			"package "+pkg+" is quarantined by undo until a new revision changes it", "history", pkg)
		return true
	case slices.Contains(s.Kept, pkg), slices.ContainsFunc(s.Findings, func(d oprc.Diagnostic) bool { return d.Package == pkg }):
		reason := "package " + pkg + " is kept at its last good state"
		for _, d := range s.Findings {
			if d.Package == pkg {
				reason += ": " + d.String()
				break
			}
		}
		w.because(oprc.KindSource, s.Name, "at revision "+s.Revision, reason, "describe", "source", s.Name)
		return true
	}
	return false
}

// waitsForPerson are reasons of a source that nothing but a change elsewhere ends: in a
// repository, in the configuration, or by the owner of what it claims.
var waitsForPerson = map[string]bool{"Conflict": true, "RevisionNotFound": true, "VerificationFailed": true, "Denied": true}

// stopped explains a source that carries nothing out.
func (w *inquiry) stopped(s *oprc.SourceStatus) bool {
	if until := s.Suspended; until != nil {
		state := "suspended by " + cmp.Or(until.Author, "somebody")
		if !until.Until.IsZero() {
			state += " until " + until.Until.UTC().Format(time.RFC3339)
		}
		w.because(oprc.KindSource, s.Name, state, cmp.Or(until.Reason, "no reason was given"), "source", "resume", s.Name)
		return true
	}
	if s.PlanID != "" {
		w.because(oprc.KindSource, s.Name, "held at revision "+s.Revision, message(s, "Ready"), "source", "approve", s.PlanID)
		return true
	}
	for _, c := range s.Conditions {
		if c.Type == "Ready" && !c.Status && c.Reason != "InvalidPackages" {
			next := []string{"source", "reconcile", s.Name}
			if waitsForPerson[c.Reason] { // looking again finds the same
				next = []string{"describe", "source", s.Name}
			}
			w.because(oprc.KindSource, s.Name, c.Reason+" since "+c.Since.UTC().Format(time.RFC3339), c.Message, next...)
			return true
		}
	}
	return false
}

func message(s *oprc.SourceStatus, condition string) string {
	for _, c := range s.Conditions {
		if c.Type == condition {
			return c.Message
		}
	}
	return ""
}

func (w *inquiry) source(s *oprc.SourceStatus) {
	if w.stopped(s) {
		return
	}
	if len(s.Findings) > 0 {
		kept := "what came from a file with errors is kept as it is"
		if len(s.Kept) > 0 {
			kept = "kept at their last good state: " + enumerate(s.Kept)
		}
		w.because(oprc.KindSource, s.Name, "at revision "+s.Revision, kept+": "+s.Findings[0].String(), "describe", "source", s.Name)
		return
	}
	w.because(oprc.KindSource, s.Name, "applied "+s.Applied, "")
}

// deployment explains its worst unit.
func (w *inquiry) deployment(d *DeploymentView) {
	w.because(oprc.KindDeployment, d.Key, fmt.Sprintf("%s, %d of %d units run", d.Condition, d.Running, d.Units), "")
	w.moved(d)
	w.leftBehind(d)
	if w.unsent(d) {
		return
	}
	for _, name := range d.TargetEnvs {
		if w.unreadable(w.health(name)) {
			return
		}
	}
	var worst *UnitView
	for _, u := range w.units {
		if u.Unit.ClsKey == d.Key && u.Op == oprc.Deploy && (worst == nil || Worst(worst.Condition, u.Condition) != worst.Condition) {
			worst = u
		}
	}
	if worst != nil && (worst.Condition != oprc.Running || worst.Drift) {
		w.unit(worst)
	}
}

// moved explains a deployment that names no environment and is not in the default one.
func (w *inquiry) moved(d *DeploymentView) {
	for _, e := range w.environments {
		here := slices.ContainsFunc(d.Members, func(m oprc.Member) bool { return m.Env == e.Name })
		if !e.Spec.Default || here || !w.computed(d) || w.target(d) > 0 {
			continue
		}
		state, reason := string(e.Health), "deployment "+d.Key+" names no environment: while this one is not usable it runs in "+strings.Join(d.TargetEnvs, ", ")
		switch until := e.RecoveringUntil; {
		case !until.IsZero():
			state += ", recovered recently"
			reason += ", and returns at " + until.UTC().Format(time.RFC3339) + " if no heartbeat is missed until then"
		case e.Health == oprc.EnvDown:
			reason += fmt.Sprintf(", and returns when this one has sent heartbeats for %s without a gap", oprc.SteadyAfter)
		default:
			reason = "" // it will not be long
		}
		if reason != "" {
			w.because(oprc.KindEnv, e.Name, state, reason)
		}
	}
}

// leftBehind explains what a deployment moved away from: units that cannot be told to
// go while nobody listens.
func (w *inquiry) leftBehind(d *DeploymentView) {
	behind := map[string]int{}
	for _, u := range w.units {
		if u.Unit.ClsKey == d.Key && u.Op == oprc.Undeploy {
			behind[u.Unit.TargetEnv]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(behind)) {
		e := w.health(name)
		if e != nil && (e.Health == oprc.Healthy || e.Health == oprc.Degraded) {
			continue // it will not be long
		}
		state, why := oprc.HealthUnknown, silence(e, w.now)
		if e != nil {
			state = e.Health
		}
		w.because(oprc.KindEnv, name, string(state), fmt.Sprintf("units of %s that wait to be undeployed: %d; this happens when a CRM reconnects: %s", d.Key, behind[name], why))
	}
}

// unsent explains commands that the catalogue asks for and no environment has: whether it
// does. What was read from far away hides secrets, and so has other hashes: then only units
// that are missing count.
func (w *inquiry) unsent(d *DeploymentView) bool {
	live, far := w.live(d), map[string]bool{}
	for _, u := range w.units {
		if live.Units[u.Unit.TargetEnv] == nil {
			live.Units[u.Unit.TargetEnv] = map[string]oprc.UnitDigest{}
		}
		live.Units[u.Unit.TargetEnv][u.Unit.ID] = oprc.UnitDigest{Generation: u.Generation, SpecHash: u.runs()}
	}
	for _, e := range w.environments {
		far[e.Name] = e.Read.IsZero()
	}
	found := false
	missing := live.Unsent(map[string]bool{d.Key: true})
	for _, env := range slices.Sorted(maps.Keys(missing)) {
		n := 0
		for _, c := range missing[env] {
			if _, recorded := live.Units[env][c.ID]; !recorded || !far[env] {
				n++
			}
		}
		e := w.health(env)
		if n == 0 || e != nil && e.Unreadable != "" {
			continue
		}
		found = true
		w.because(oprc.KindEnv, env, "not sent", fmt.Sprintf(
			"commands of %s that were decided and are not in its stream: %d; a daemon sends them within a tick, and its log says what keeps it from that: Redis takes no writes, a slot of a Cluster is being moved, or dispatching is switched off", d.Key, n), "doctor")
	}
	return found
}

// runs is the hash of what the unit is asked to run; "" where it is asked to go.
func (u *UnitView) runs() string {
	if u.Op != oprc.Deploy {
		return ""
	}
	return u.SpecHash
}

// live is what is known of the state around a deployment, without units.
func (w *inquiry) live(d *DeploymentView) plan.Live {
	live := plan.Live{
		Packages: map[string]oprc.PackageRecord{}, Environments: map[string]oprc.EnvironmentState{},
		Deployments: map[string]oprc.Deployment{d.Key: d.Deployment}, Units: map[string]map[string]oprc.UnitDigest{},
	}
	for _, p := range w.packages {
		live.Packages[p.Name] = p.PackageRecord
	}
	for _, e := range w.environments {
		live.Environments[e.Name] = e.EnvironmentState
	}
	return live
}

// target is the availability that a deployment's class asks for; 0: none.
func (w *inquiry) target(d *DeploymentView) float64 {
	placing, err := plan.ExplainPlacement(w.live(d), d.Key, nil)
	if err != nil {
		return 0 // nothing can be said of it
	}
	return placing.Target
}

// computed reports whether a deployment leaves it to us where it runs.
func (w *inquiry) computed(d *DeploymentView) bool {
	for _, p := range w.packages {
		if p.Name != d.Pkg {
			continue
		}
		for _, asked := range p.Spec.Deployments {
			if resolve.DeploymentKey(p.Spec, asked.Key) == d.Key {
				return len(asked.TargetEnvs) == 0 && len(asked.Members) == 0
			}
		}
	}
	return false
}

func (w *inquiry) unit(u *UnitView) {
	env := w.health(u.Unit.TargetEnv)
	last := len(w.causes)
	w.because(oprc.KindUnit, u.Unit.ID, string(u.Condition), "")
	if w.unreadable(env) {
		return
	}
	c := &w.causes[last]
	switch {
	case env == nil || env.Health != oprc.Healthy && env.Health != oprc.Degraded:
		c.Reason = "no CRM serves environment " + u.Unit.TargetEnv
		if !u.Settled {
			c.Reason += delivery(w.queue(u.Unit.TargetEnv), u, "it is sent again once a CRM sends heartbeats")
		}
		w.silent(u.Unit.TargetEnv, env)
	case !u.Settled:
		c.Reason = fmt.Sprintf("generation %d was sent %s ago, and no report has answered it", u.Generation, w.now.Sub(u.DispatchedAt).Round(time.Second))
		if u.Status != nil {
			c.Reason += fmt.Sprintf("; the last one was about generation %d", u.Status.Generation)
		}
		c.Reason += delivery(w.queue(u.Unit.TargetEnv), u, "it will be sent again")
		c.Next = []string{"get", "crms"}
	case u.Condition == oprc.Down && u.Status != nil:
		c.Reason = cmp.Or(u.Status.ErrorMsg, "CRM "+u.Status.CRM+" reports it, without saying why")
		c.Next = []string{"describe", "unit", u.Unit.ID}
	case u.Drift:
		c.Reason = "CRM " + u.Status.CRM + " reports another spec than the one that it was sent"
		c.Next = []string{"describe", "unit", u.Unit.ID}
	case u.Condition == oprc.Deploying || u.Condition == oprc.Pending:
		c.Reason = "CRM " + u.Status.CRM + " is at it since " + u.Status.Time.UTC().Format(time.RFC3339)
	}
}

// delivery says how far a unit's command has come, and what happens to one that was
// acknowledged without a report.
func delivery(q *oprc.CommandQueue, u *UnitView, again string) string {
	if q == nil {
		return ""
	}
	var text string
	held, waits := q.Held[u.Unit.ID], q.Waiting[u.Unit.ID] == u.Generation
	switch {
	case held.Generation == u.Generation:
		text = fmt.Sprintf("; CRM %s has read it and not answered, and touched it last %s ago", held.CRM, held.Idle.Round(time.Second))
	case waits:
		text = "; no CRM has read it"
	case !q.Partial:
		text = "; a CRM has acknowledged it without a report, and " + again
	}
	if len(q.Groups) > 0 {
		text += "; the commands are also read by group " + strings.Join(q.Groups, ", ") + ": CRMs share the group crm, and another group gets every command once more"
	}
	return text
}

func (w *inquiry) health(name string) *EnvironmentView {
	for _, e := range w.environments {
		if e.Name == name {
			return e
		}
	}
	return nil
}

// unreadable explains an environment whose state cannot be read; false if it can.
func (w *inquiry) unreadable(e *EnvironmentView) bool {
	if e == nil || e.Unreadable == "" {
		return false
	}
	w.because(oprc.KindEnv, e.Name, "unreadable", e.Unreadable, "doctor")
	return true
}

func (w *inquiry) environment(e *EnvironmentView) {
	if w.unreadable(e) {
		return
	}
	var reasons, next []string
	if lost := damage(e.Damaged); lost != "" {
		reasons, next = append(reasons, lost), []string{"doctor"}
	}
	if e.Health == oprc.Degraded {
		var silent []string
		for _, b := range e.Beats {
			if e.read(w.now).Sub(b.Time) > oprc.HeartbeatTimeout {
				silent = append(silent, b.CRM)
			}
		}
		reasons = append(reasons, fmt.Sprintf("of its %d CRMs these are silent for more than %s: %s; the others carry on", len(e.Beats), oprc.HeartbeatTimeout, strings.Join(silent, ", ")))
		next = []string{"get", "crms"}
	}
	if until := e.RecoveringUntil; !until.IsZero() {
		reasons = append(reasons, "it was DOWN: computed placements return at "+until.UTC().Format(time.RFC3339)+" if no heartbeat is missed until then")
	}
	if e.Health == oprc.Healthy || e.Health == oprc.Degraded || len(e.Damaged) > 0 {
		w.because(oprc.KindEnv, e.Name, string(e.Health), strings.Join(reasons, "; "), next...)
		return
	}
	w.silent(e.Name, e)
}

// silent explains an environment from which nobody reports.
func (w *inquiry) silent(name string, e *EnvironmentView) {
	state := "unknown"
	if e != nil {
		state = strings.ToLower(cmp.Or(string(e.Health), "unknown"))
	}
	w.because(oprc.KindEnv, name, state, silence(e, w.now), "crm", "run", "--env", name)
}

// silence says what was heard last of an environment.
func silence(e *EnvironmentView, now time.Time) string {
	switch {
	case e == nil:
		return "it is not registered, and no CRM was heard from it lately"
	case len(e.Beats) == 0:
		return "no CRM has ever reported from it"
	}
	last := slices.MaxFunc(e.Beats, func(a, b oprc.Heartbeat) int { return a.Time.Compare(b.Time) })
	return fmt.Sprintf("CRM %s was heard last %s ago, and counts as gone after %s", last.CRM, e.read(now).Sub(last.Time).Round(time.Second), oprc.HeartbeatTimeout)
}

// read is when the environment was seen so. What came from far away does not say.
func (e *EnvironmentView) read(now time.Time) time.Time {
	if e.Read.IsZero() {
		return now
	}
	return e.Read
}
