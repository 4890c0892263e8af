package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A Role says how much somebody may do. Each one may do what those before it may.
type Role string

// The roles, the least first.
const (
	Anybody  Role = ""         // not known to the server
	Viewer   Role = "viewer"   // reads
	Planner  Role = "planner"  // plans, and reads plans
	Editor   Role = "editor"   // writes packages, classes and deployments
	Approver Role = "approver" // approves held plans, suspends sources
	Admin    Role = "admin"    // environments, tokens
)

var roles = []Role{Anybody, Viewer, Planner, Editor, Approver, Admin}

// ParseRole returns the role that a word names.
func ParseRole(word string) (Role, error) {
	if r := Role(word); r != Anybody && slices.Contains(roles, r) {
		return r, nil
	}
	return Anybody, fmt.Errorf("%w role %q: viewer, planner, editor, approver or admin is needed", oprc.ErrInvalid, word)
}

// Includes reports whether who has role r may do what needs role least.
func (r Role) Includes(least Role) bool { return slices.Index(roles, r) >= slices.Index(roles, least) }

// Limits narrow a role. Each list holds patterns as path.Match knows them; an empty
// one limits nothing, except that of origins: empty, it is cli and api.
type Limits struct {
	Packages     []string `json:"packages,omitempty"`
	Environments []string `json:"environments,omitempty"`
	Origins      []string `json:"origins,omitempty"`
}

// Check refuses patterns that path.Match cannot read.
func (l Limits) Check() error {
	for _, pattern := range slices.Concat(l.Packages, l.Environments, l.Origins) {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return fmt.Errorf("%w pattern %q", oprc.ErrInvalid, pattern)
		}
	}
	return nil
}

// An Identity is who the server takes a caller for.
type Identity struct {
	Name          string `json:"name"`
	Role          Role   `json:"role"`
	Authenticated bool   `json:"authenticated"` // false: the server does not know callers, or not this one
	Method        string `json:"method"`        // none, token, oidc or certificate
	Limits
	nameless bool // a token without a name: the request says who acts
}

func matches(patterns []string, name string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok && err == nil
	})
}

// limited reports whether not everything is for this caller.
func (i *Identity) limited() bool { return len(i.Packages) > 0 || len(i.Environments) > 0 }

// mayAct reports whether the caller may write in the name of an origin.
func (i *Identity) mayAct(origin string) bool {
	if len(i.Origins) > 0 {
		return matches(i.Origins, origin)
	}
	return origin == oprc.OriginCLI || origin == oprc.OriginAPI
}

// sees reports whether an object is inside the caller's limits: its package, and
// every environment that it names.
func (i *Identity) sees(o reconcile.Object) bool {
	if !i.limited() {
		return true
	}
	pkg, envs := placeOf(o)
	if pkg != "" && !matches(i.Packages, pkg) {
		return false
	}
	for _, env := range envs {
		if !matches(i.Environments, env) {
			return false
		}
	}
	return true
}

// part is what the caller may see of an object: where a function can be called, and what is
// wrong with it, name an environment; what a source says of its files names everything.
func (i *Identity) part(o reconcile.Object) reconcile.Object {
	if !i.limited() {
		return o
	}
	switch doc := o.Doc.(type) {
	case *reconcile.FunctionView:
		if len(i.Environments) > 0 {
			bare := *doc
			bare.Status = oprc.FunctionStatus{Condition: doc.Status.Condition}
			o.Doc = &bare
		}
	case *oprc.SourceStatus:
		bare, mine := *doc, func(pkgs []string) []string {
			return slices.DeleteFunc(slices.Clone(pkgs), func(name string) bool { return !matches(i.Packages, name) })
		}
		bare.Kept, bare.Quarantined = mine(doc.Kept), mine(doc.Quarantined)
		bare.Notes, bare.Findings, bare.Conditions = nil, nil, slices.Clone(doc.Conditions)
		for n := range bare.Conditions {
			bare.Conditions[n].Message = ""
		}
		o.Doc = &bare
	}
	return o
}

// placeOf returns the package of an object, and the environments that it names.
func placeOf(o reconcile.Object) (pkg string, envs []string) {
	switch doc := o.Doc.(type) {
	case *reconcile.PackageView:
		for _, d := range doc.Spec.Deployments {
			envs = append(envs, envsOf(d)...)
		}
		return doc.Name, envs
	case *reconcile.ClassView:
		return doc.Pkg, nil
	case *reconcile.FunctionView:
		return doc.Pkg, nil
	case *reconcile.DeploymentView:
		return doc.Pkg, envsOf(doc.Deployment)
	case *reconcile.UnitView:
		return packageOf(doc.Unit.ClsKey), []string{doc.Unit.TargetEnv}
	case *oprc.ClassRuntime:
		return packageOf(doc.ClsKey), []string{doc.Env}
	case *reconcile.EnvironmentView:
		return "", []string{doc.Name}
	case *reconcile.CRMView:
		return "", []string{doc.Env}
	}
	return "", nil
}

// packageOf is the package of a key, where nothing else says so: a name that has dots
// itself is taken for one of a package that has them.
func packageOf(key string) string {
	key, _, _ = strings.Cut(key, "/")
	key, _, _ = strings.Cut(key, "@")
	return key[:max(0, strings.LastIndexByte(key, '.'))]
}

func envsOf(d oprc.Deployment) []string {
	envs := slices.Clone(d.TargetEnvs)
	for _, m := range d.Members {
		envs = append(envs, m.Env)
	}
	return envs
}

// seesEvent is sees for what happened. What happened to a source tells of all that it has.
func (i *Identity) seesEvent(e oprc.Event) bool {
	if !i.limited() {
		return true
	}
	if e.Kind == "" {
		return false
	}
	env := e.Env
	if e.Kind == oprc.KindEnv {
		env = e.Key
	}
	if _, _, _, of, ok := oprc.ParseUnitID(e.Key); ok {
		env = of
	}
	pkg := packageOfEvent(e)
	return (env == "" || matches(i.Environments, env)) && (pkg == "" || matches(i.Packages, pkg))
}

// seesEntry reports whether the caller would have seen a package as an entry of its history
// has it.
func (i *Identity) seesEntry(pkg string, e oprc.HistoryEntry) bool {
	return e.Spec == nil || i.sees(reconcile.Object{Doc: &reconcile.PackageView{Name: pkg, PackageRecord: oprc.PackageRecord{Spec: *e.Spec}}})
}

func packageOfEvent(e oprc.Event) string {
	switch e.Kind {
	case oprc.KindPackage:
		return e.Key
	case oprc.KindClass, oprc.KindFunction, oprc.KindDeployment, oprc.KindUnit, oprc.KindRuntime:
		return packageOf(e.Key)
	}
	return ""
}

// reaches refuses a request that names what lies beyond the caller's limits, whether or
// not it would change it: the answer shows what it names. What a decision changes besides
// is for [Identity.permits].
func (a *api) reaches(r *http.Request, req reconcile.Request) error {
	who := caller(r)
	if !who.limited() {
		return nil
	}
	docs, _ := a.Load(req.Files, req.Strict, req.Package)
	beyond, names := map[string]bool{}, slices.Clone(req.Scope.Delete)
	for _, d := range docs {
		switch {
		case d.Environment != nil && !matches(who.Environments, d.Name()):
			beyond["environment/"+d.Name()] = true
		case d.Package != nil:
			names = append(names, d.Name())
			if !who.sees(reconcile.Object{Doc: &reconcile.PackageView{Name: d.Name(), PackageRecord: oprc.PackageRecord{Spec: *d.Package}}}) {
				beyond["package/"+d.Name()] = true
			}
		}
	}
	for _, name := range names {
		env, isEnv := strings.CutPrefix(name, "environment/")
		if isEnv && !matches(who.Environments, env) {
			beyond[name] = true
		}
		if isEnv || name == "" {
			continue
		}
		live, err := a.Control.Find(r.Context(), oprc.KindPackage, name)
		if err != nil && !errors.Is(err, oprc.ErrNotFound) {
			return err
		}
		if err == nil && !who.sees(live) {
			beyond["package/"+name] = true
		}
	}
	return who.denied(beyond)
}

// permits refuses a plan that reaches beyond the caller's limits, or, where it is to be
// applied, one in the name of an origin that is not the caller's.
func (i *Identity) permits(p *plan.Plan, apply bool) error {
	beyond := map[string]bool{}
	if apply && !i.mayAct(p.Scope.Origin) {
		beyond["origin "+p.Scope.Origin] = true
	}
	if apply && p.Scope.TakeOwnership && !i.Role.Includes(Approver) {
		beyond["takeOwnership: it needs the role "+string(Approver)] = true
	}
	for _, c := range p.Changes {
		if c.Package != "" && !matches(i.Packages, c.Package) {
			beyond["package/"+c.Package] = true
		}
		for _, env := range envsOfChange(c) {
			if !matches(i.Environments, env) {
				beyond["environment/"+hidden] = true // the caller may not have named it
			}
		}
	}
	return i.denied(beyond)
}

func among[V any](patterns []string, all map[string]V) map[string]V {
	out := maps.Clone(all)
	maps.DeleteFunc(out, func(name string, _ V) bool { return !matches(patterns, name) })
	return out
}

// mayKeepTokens refuses a caller with limits: a token that it made or revoked could reach
// beyond them.
func (i *Identity) mayKeepTokens() error {
	if i.limited() || len(i.Origins) > 0 {
		return refuse(http.StatusForbidden, "%s is limited to some packages, environments or origins: tokens are for an admin without limits", i.Name)
	}
	return nil
}

// permitsOf is permits for a plan that is made in a source's name whoever says when, so
// that origins bind only a caller who is limited to some.
func (i *Identity) permitsOf(p *plan.Plan) error {
	if len(i.Origins) > 0 && !i.mayAct(p.Scope.Origin) {
		return i.denied(map[string]bool{"origin " + p.Scope.Origin: true})
	}
	return i.permits(p, false)
}

// denied is the refusal of what lies beyond the caller's limits, nil of nothing.
func (i *Identity) denied(beyond map[string]bool) error {
	if len(beyond) == 0 {
		return nil
	}
	return &beyondError{oprc.DeniedError{Reason: "beyond the limits of " + i.Name, Objects: slices.Sorted(maps.Keys(beyond))}}
}

// A beyondError refuses what is beyond a caller's limits. It names only what the caller
// named before.
type beyondError struct{ oprc.DeniedError }

func (e *beyondError) Unwrap() error { return &e.DeniedError }

func envsOfChange(c plan.Change) []string {
	switch c.Kind {
	case oprc.KindUnit:
		if _, _, _, env, ok := oprc.ParseUnitID(c.Key); ok {
			return []string{env}
		}
	case oprc.KindEnv:
		return []string{c.Key}
	case oprc.KindDeployment:
		var envs []string
		for _, raw := range []json.RawMessage{c.Before, c.After} {
			var d oprc.Deployment
			if raw != nil && json.Unmarshal(raw, &d) == nil {
				envs = append(envs, envsOf(d)...)
			}
		}
		return envs
	}
	return nil
}

// A Permission is the answer to whether somebody may do something.
type Permission struct {
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason"`
}

// verbs are what one may ask about, and the role that each needs.
var verbs = map[string]Role{
	"get": Viewer, "list": Viewer, "watch": Viewer, "plan": Planner,
	"apply": Editor, "create": Editor, "update": Editor, "delete": Editor, "undo": Editor, "retry": Editor, "reconcile": Editor,
	"approve": Approver, "suspend": Approver, "resume": Approver, "drop": Admin,
}

// needs is the role that a verb needs for a kind.
func needs(verb, kind string) (Role, error) {
	least, ok := verbs[verb]
	if !ok {
		return Anybody, refuse(http.StatusBadRequest, "verb=%s: one of %s is needed", clip(verb), strings.Join(slices.Sorted(maps.Keys(verbs)), ", "))
	}
	switch kind {
	case "package", "class", "function", "deployment", "unit", "runtime", "crm", "source", "event", "dead", "plan":
	case "environment", "token":
		if least != Viewer && least != Planner || kind == "token" {
			least = Admin
		}
	default:
		return Anybody, refuse(http.StatusBadRequest, "kind=%s: the kind of an object is needed, as in package", clip(kind))
	}
	return least, nil
}

// May reports whether the caller may do a verb to an object of a kind.
func (i *Identity) may(verb, kind, name string) (Permission, error) {
	least, err := needs(verb, kind)
	if err != nil {
		return Permission{}, err
	}
	if !i.Role.Includes(least) {
		return Permission{false, fmt.Sprintf("%s needs the role %s; %s has %s", verb, least, i.Name, orNone(i.Role))}, nil
	}
	if kind == "token" {
		if err := i.mayKeepTokens(); err != nil {
			return Permission{false, err.Error()}, nil
		}
	}
	if name != "" {
		pkg, env := packageOf(name), ""
		switch kind {
		case "package":
			pkg = name
		case "environment", "dead":
			pkg, env = "", name
		case "crm":
			env, _, _ = strings.Cut(name, "/")
			pkg = ""
		case "unit", "runtime":
			_, env, _ = strings.Cut(name, "@")
		case "source", "token", "event", "plan":
			pkg = ""
		}
		if pkg != "" && !matches(i.Packages, pkg) || env != "" && !matches(i.Environments, env) {
			return Permission{false, fmt.Sprintf("%s %s is outside the limits of %s", kind, name, i.Name)}, nil
		}
	}
	return Permission{true, "the role " + string(i.Role) + " allows it"}, nil
}

func orNone(r Role) string {
	if r == Anybody {
		return "none"
	}
	return string(r)
}
