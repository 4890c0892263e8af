package console

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A detail is the page of one object.
type detail struct {
	Kind, Title string
	Path        string // of its kind
	State       string
	Lead        string // a sentence on top
	Facts       []fact
	Why         *reconcile.Explanation
	Findings    oprc.Diagnostics
	Tables      []table
	Past        *past
	Spec        []outlined
	Events      []oprc.Event
	Acts        []offer
	Links       []cell
}

// A fact is a labelled value.
type fact struct {
	Label string
	cell
}

// An offer is an act that the visitor may do.
type offer struct{ Label, Href string }

func (s *server) detail(v *visit, k kind) error {
	key := v.r.PathValue("key")
	d, err := k.detail(v, key)
	if err != nil {
		return err
	}
	d.Kind, d.Path, d.Title = k.name, k.path, key
	return v.render(http.StatusOK, "detail", k.path, key, d)
}

func (d *detail) fact(label string, c cell) {
	if c != (cell{}) {
		d.Facts = append(d.Facts, fact{label, c})
	}
}

// table adds a table that has rows.
func (d *detail) table(title string, t table) {
	if len(t.Rows) > 0 {
		t.Title, t.Pager = title, pager{Total: t.Pager.Total, To: t.Pager.To}
		d.Tables = append(d.Tables, t)
	}
}

const lastEvents = 12

func packageDetail(v *visit, key string) (d detail, err error) {
	p, err := find[reconcile.PackageView](v, "packages", key)
	if err != nil {
		return d, err
	}
	d.State, d.Spec = string(p.Condition), outline(p.Spec)
	d.fact("Version", text(p.Spec.Version))
	d.fact("Revision", cell{Text: fmt.Sprint(p.Rev)})
	d.fact("Origin", originCell(p.Origin))
	if p.Source != nil {
		d.fact("Commit", code(short(p.Source.Commit)))
		d.fact("File", code(p.Source.Path))
	}
	d.fact("Applied", when(p.AppliedAt))
	d.fact("By", text(p.AppliedBy))
	d.fact("Digest", code(short(p.Digest)))
	for _, name := range p.Spec.Required {
		d.fact("Needs", to("packages", name))
	}
	of := url.Values{"package": {key}, "limit": {"25"}}
	var deployments, classes, functions table
	undo := false
	err = together(
		func() (err error) { d.Why, err = v.near(key, "").why(oprc.KindPackage, key); return err },
		func() (err error) { deployments, err = deploymentRows(v, of); return err },
		func() (err error) { classes, err = classRows(v, of); return err },
		func() (err error) { functions, err = functionRows(v, of); return err },
		func() (err error) { d.Past, err = v.past(key); return err },
		func() (err error) { d.Events, err = v.lastEvents(url.Values{"package": {key}}, lastEvents); return err },
		func() error { undo = v.may("undo", "package", key); return nil },
	)
	if err != nil {
		return d, err
	}
	d.table("Deployments", deployments)
	d.table("Classes", classes)
	d.table("Functions", functions)
	d.Links = []cell{link("Inheritance and requirements", "/ui/graph?package="+url.QueryEscape(key)), link("All units", "/ui/units?package="+url.QueryEscape(key))}
	if undo {
		d.Acts = append(d.Acts, offer{"Undo…", "/ui/act/undo?name=" + url.QueryEscape(key)})
	}
	return d, nil
}

func classDetail(v *visit, key string) (d detail, err error) {
	c, err := find[reconcile.ClassView](v, "classes", key)
	if err != nil {
		return d, err
	}
	d.State, d.Lead, d.Spec = string(c.Condition), c.Description, outline(c.Class)
	d.fact("Package", to("packages", c.Pkg))
	d.fact("State", text(string(c.StateType)))
	for _, parent := range c.Parents {
		d.fact("Parent", to("classes", oprc.Abs(c.Pkg, parent)))
	}
	bindings := table{Head: []column{{Title: "Binding"}, {Title: "Function"}, {Title: "Access"}, {Title: "Immutable"}}}
	for _, b := range c.Functions {
		bindings.Rows = append(bindings.Rows, []cell{text(b.Name), to("functions", oprc.Abs(c.Pkg, b.Function)), text(string(b.Access)), yes(b.Immutable, "immutable")})
	}
	d.table("Bindings", bindings)
	d.Links = []cell{link("Inheritance", "/ui/graph?package="+url.QueryEscape(c.Pkg))}
	if c.Condition != "" {
		d.Links = append(d.Links, link("Deployment", pathOf("deployments", key)))
		d.Why, err = v.near(c.Pkg, key).why(oprc.KindDeployment, key)
	}
	return d, err
}

func functionDetail(v *visit, key string) (d detail, err error) {
	f, err := find[reconcile.FunctionView](v, "functions", key)
	if err != nil {
		return d, err
	}
	d.State, d.Lead, d.Spec = string(f.Status.Condition), f.Description, outline(f.Function)
	d.fact("Package", to("packages", f.Pkg))
	d.fact("Type", text(string(f.Type)))
	d.fact("Image", code(f.Provision.Image()))
	d.fact("URL", code(f.Status.InvocationURL))
	return d, nil
}

func deploymentDetail(v *visit, key string) (d detail, err error) {
	dep, err := find[reconcile.DeploymentView](v, "deployments", key)
	if err != nil {
		return d, err
	}
	d.State, d.Spec = string(dep.Condition), outline(cmp.Or(dep.Declared, &dep.Deployment))
	d.fact("Class", to("classes", key))
	d.fact("Package", to("packages", dep.Pkg))
	d.fact("Running", text(fmt.Sprintf("%d of %d units", dep.Running, dep.Units)))
	d.fact("Partitions", cell{Text: fmt.Sprint(dep.PartitionCount)})
	d.fact("Replicas", cell{Text: fmt.Sprint(dep.ReplicaCount)})
	for _, env := range dep.TargetEnvs {
		d.fact("Environment", to("environments", env))
	}
	d.fact("Drift", yes(dep.Drift, "a CRM runs another spec"))
	var units table
	err = together(
		func() (err error) { d.Why, err = v.near(dep.Pkg, key).why(oprc.KindDeployment, key); return err },
		func() (err error) { units, err = unitRows(v, url.Values{"class": {key}, "limit": {"100"}}); return err },
		func() (err error) { d.Events, err = v.lastEvents(url.Values{"class": {key}}, lastEvents); return err },
	)
	if err != nil {
		return d, err
	}
	d.table("Units", units)
	d.Links = []cell{link("Why here: the arithmetic of its placement", pathOf("placement", key)), link("On the map", "/ui/topology?class="+url.QueryEscape(key))}
	return d, nil
}

func unitDetail(v *visit, key string) (d detail, err error) {
	u, err := find[reconcile.UnitView](v, "units", key)
	if err != nil {
		return d, err
	}
	class, pkg := u.Unit.ClsKey, ""
	if dep, err := find[reconcile.DeploymentView](v, "deployments", class); err == nil {
		pkg = dep.Pkg
	}
	d.State, d.Spec = string(u.Condition), outline(u.Unit)
	d.fact("Class", to("deployments", class))
	d.fact("Environment", to("environments", u.Unit.TargetEnv))
	d.fact("Partition", text(fmt.Sprintf("%d, replica %d", u.Unit.PartitionInfo.PartitionID, u.Unit.PartitionInfo.ReplicaID)))
	d.fact("Role", yes(u.Unit.Primary, "primary"))
	d.fact("Command", text(string(u.Op)))
	d.fact("Generation", cell{Text: fmt.Sprint(u.Generation)})
	d.fact("Sent", when(u.DispatchedAt))
	d.fact("Spec hash", code(short(u.SpecHash)))
	if st := u.Status; st != nil && st.Generation > 0 {
		d.fact("Reported by", to("crms", u.Unit.TargetEnv+"/"+st.CRM))
		d.fact("Report", when(st.Time))
		d.fact("Of generation", cell{Text: fmt.Sprint(st.Generation)})
		d.fact("Error", text(st.ErrorMsg))
	}
	d.fact("Drift", yes(u.Drift, "the CRM runs another spec"))
	if d.Why, err = v.near(pkg, class).why(oprc.KindUnit, key); err != nil {
		return d, err
	}
	peers := table{Head: []column{{Title: "Replica", Number: true}, {Title: "Environment"}, {Title: "Role"}}}
	for _, peer := range u.Unit.Peers {
		peers.Rows = append(peers.Rows, []cell{number(peer.ReplicaID), to("environments", peer.Env), yes(peer.Primary, "primary")})
	}
	d.table("Other replicas of the partition", peers)
	return d, nil
}

func environmentDetail(v *visit, key string) (d detail, err error) {
	e, err := find[reconcile.EnvironmentView](v, "environments", key)
	if err != nil {
		return d, err
	}
	c := cardOf(e, v.now)
	d.State, d.Spec = string(e.Health), outline(e.Spec)
	d.fact("Availability", cell{Text: fmt.Sprint(c.Availability)})
	d.fact("Units", cell{Text: fmt.Sprint(c.Units)})
	if c.Max >= 0 {
		d.fact("Takes at most", cell{Text: fmt.Sprint(c.Max)})
	}
	d.fact("Default", yes(c.Default, "for what names no environment"))
	d.fact("Origin", originCell(e.Origin))
	d.fact("Applied", when(e.AppliedAt))
	if !e.RecoveringUntil.IsZero() {
		d.fact("Recovering until", text(e.RecoveringUntil.UTC().Format(time.RFC3339)))
	}
	var crms table
	err = together(
		func() (err error) { d.Why, err = v.near("", "").why(oprc.KindEnv, key); return err },
		func() (err error) { crms, err = crmRows(v, url.Values{"env": {key}, "limit": {"100"}}); return err },
		func() (err error) { d.Events, err = v.lastEvents(url.Values{"env": {key}}, lastEvents); return err },
	)
	if err != nil {
		return d, err
	}
	d.table("CRMs", crms)
	d.Links = []cell{
		link("Units here", "/ui/units?env="+url.QueryEscape(key)), link("Classes here", "/ui/topology?env="+url.QueryEscape(key)),
		link("Dead letters", "/ui/dead?env="+url.QueryEscape(key)),
	}
	return d, nil
}

func crmDetail(v *visit, key string) (d detail, err error) {
	c, err := find[reconcile.CRMView](v, "crms", key)
	if err != nil {
		return d, err
	}
	d.State = aliveCell(c.Alive).Text
	d.fact("Environment", to("environments", c.Env))
	d.fact("Last heartbeat", when(c.Time))
	d.fact("Without a break since", when(c.Since))
	d.fact("Templates", text(strings.Join(c.Templates, ", ")))
	d.Spec = outline(c.Heartbeat)
	return d, nil
}

func sourceDetail(v *visit, key string) (d detail, err error) {
	st, err := find[oprc.SourceStatus](v, "sources", key)
	if err != nil {
		return d, err
	}
	c := stateOf(st)
	d.State, d.Lead, d.Findings = c.State, c.Why, st.Findings
	d.fact("Repository", code(st.URL))
	d.fact("Ref", text(st.Ref))
	d.fact("Path", code(st.Path))
	d.fact("Seen", code(short(st.Revision)))
	d.fact("Applied", code(short(st.Applied)))
	d.fact("Last look", when(st.LastTick))
	if st.PlanID != "" {
		d.fact("Held plan", link(short(st.PlanID), pathOf("plans", st.PlanID)))
	}
	if s := st.Suspended; s != nil && !s.Until.IsZero() {
		d.fact("Suspended until", text(s.Until.UTC().Format(time.RFC3339)))
	}
	for _, name := range st.Kept {
		d.fact("Kept at its last good state", to("packages", name))
	}
	for _, name := range st.Quarantined {
		d.fact("Quarantined", to("packages", name))
	}
	if d.Why, err = v.near("", "").why(oprc.KindSource, key); err != nil {
		return d, err
	}
	conditions := table{Head: []column{{Title: "Condition"}, {Title: "Is"}, {Title: "Reason"}, {Title: "Message"}, {Title: "Since"}}}
	for _, c := range st.Conditions {
		is := "no"
		if c.Status {
			is = "yes"
		}
		conditions.Rows = append(conditions.Rows, []cell{text(c.Type), text(is), text(c.Reason), text(c.Message), when(c.Since)})
	}
	d.table("Conditions", conditions)
	d.Acts = v.sourceActs(st)
	return d, nil
}

// sourceActs are what the visitor may do to a source as it is.
func (v *visit) sourceActs(st oprc.SourceStatus) []offer {
	name := "name=" + url.QueryEscape(st.Name)
	var out []offer
	if st.PlanID != "" && v.may("approve", "plan", "") {
		out = append(out, offer{"Approve…", "/ui/act/approve?plan=" + url.QueryEscape(st.PlanID)})
	}
	if v.may("reconcile", "source", st.Name) {
		out = append(out, offer{"Reconcile…", "/ui/act/reconcile?" + name})
	}
	switch {
	case st.Suspended != nil && v.may("resume", "source", st.Name):
		out = append(out, offer{"Resume…", "/ui/act/resume?" + name})
	case st.Suspended == nil && v.may("suspend", "source", st.Name):
		out = append(out, offer{"Suspend…", "/ui/act/suspend?" + name})
	}
	return out
}
