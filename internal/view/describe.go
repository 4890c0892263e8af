package view

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A Description is one object with what belongs to it.
type Description struct {
	Object reconcile.Object
	Units  []reconcile.Object // of the object, where it has any
	Events []oprc.Event       // about it, oldest first
}

// Describe prints everything about one object.
func (o Output) Describe(d Description) error {
	if o.Format == JSON || o.Format == YAML {
		return o.describeDocument(d)
	}
	var b strings.Builder
	b.WriteString(o.facts(d.Object))
	b.WriteString(o.details(d.Object))
	if len(d.Units) > 0 {
		t := table{header: []string{"UNIT", "CONDITION", "GENERATION", "CRM", "AGE"}}
		for _, u := range d.Units {
			t.add(o.row(u)[:5]...)
		}
		b.WriteString(section("Units", t))
		b.WriteString(unitTroubles(d.Units))
	}
	if len(d.Events) > 0 {
		b.WriteString(section("Events", o.eventTable(d.Events)))
	}
	return o.print(b.String())
}

func (o Output) describeDocument(d Description) error {
	items, err := o.items(append([]reconcile.Object{d.Object}, d.Units...))
	if err != nil {
		return err
	}
	return o.Document(struct {
		FormatVersion string            `json:"formatVersion"`
		Object        json.RawMessage   `json:"object"`
		Units         []json.RawMessage `json:"units"`
		Events        []oprc.Event      `json:"events"`
	}{FormatVersion, items[0], items[1:], d.Events})
}

// facts are the columns of the wide listing, one a line.
func (o Output) facts(obj reconcile.Object) string {
	var t table
	row := o.row(obj)
	t.add(bold("Kind:"), string(obj.Kind))
	for i, h := range columns(obj.Kind, true) {
		if row[i] != "-" && row[i] != "" {
			t.add(bold(label(h)+":"), row[i])
		}
	}
	return t.render("")
}

// label turns a column's SHARD-TYPE into "Shard type".
func label(h string) string {
	switch h {
	case "CRM", "CRMS", "ID", "URL":
		return strings.TrimSuffix(h, "S") + strings.ToLower(h[len(strings.TrimSuffix(h, "S")):])
	case "INVOCATION-URL":
		return "Invocation URL"
	}
	s := strings.ToLower(strings.ReplaceAll(h, "-", " "))
	return strings.ToUpper(s[:1]) + s[1:]
}

// details are what a table row has no room for.
func (o Output) details(obj reconcile.Object) string {
	switch d := obj.Doc.(type) {
	case *reconcile.PackageView:
		return packageDetails(d)
	case *reconcile.ClassView:
		return bindingDetails(d)
	case *reconcile.FunctionView:
		return functionDetails(d)
	case *reconcile.DeploymentView:
		return deploymentDetails(d)
	case *reconcile.UnitView:
		return unitDetails(d)
	case *oprc.ClassRuntime:
		t := table{header: []string{"PARTITION", "REPLICAS", "UPDATED"}}
		for _, p := range d.Partitions {
			t.add(strconv.Itoa(p.ID), dash(strings.Join(p.Replicas, ", ")), o.age(p.Time))
		}
		return section("Partitions", t)
	case *reconcile.EnvironmentView:
		t := table{header: []string{"ID", "AVAILABILITY", "LAST-SEEN", "SINCE"}}
		for _, c := range d.Beats {
			t.add(clean(c.CRM), fraction(c.Availability), o.age(c.Time), o.age(c.Since))
		}
		return o.standing(d) + section("CRMs", t)
	case *oprc.SourceStatus:
		t := table{header: []string{"CONDITION", "STATUS", "REASON", "SINCE", "REVISION", "MESSAGE"}}
		for _, c := range d.Conditions {
			t.add(clean(c.Type), strconv.FormatBool(c.Status), dash(c.Reason), o.age(c.Since), dash(shortDigest(c.Revision)), dash(c.Message))
		}
		return section("Conditions", t) + sourceDetails(d)
	}
	return ""
}

// standing says of an environment what its health alone does not.
func (o Output) standing(d *reconcile.EnvironmentView) string {
	var out string
	if d.Unreadable != "" {
		out += "\nIt cannot be read now, and nothing is changed in it: " + clean(d.Unreadable) + "\n"
	}
	if until := d.RecoveringUntil; !until.IsZero() {
		out += fmt.Sprintf("\nIt was DOWN: computed placements return at %s if no heartbeat is missed until then.\n", until.UTC().Format(time.RFC3339))
	}
	if d.Rev == 0 {
		out += "\nNobody declared it: its CRMs made it known. `oprc env create " + clean(d.Name) + "` declares it.\n"
	}
	if k := d.Spec.Kubernetes; k != nil {
		out += section("Pods", pods(k))
	}
	return out
}

// pods is what the environment's document says of pods.
func pods(k *oprc.Kubernetes) table {
	t := table{header: []string{"SETTING", "VALUE"}}
	for _, name := range k.PullSecrets {
		t.add("pull secret", clean(name))
	}
	if k.ServiceAccount != "" {
		t.add("service account", clean(k.ServiceAccount))
	}
	for _, key := range slices.Sorted(maps.Keys(k.NodeSelector)) {
		t.add("node selector", clean(key+"="+k.NodeSelector[key]))
	}
	for _, toleration := range k.Tolerations {
		text := toleration.Key
		if toleration.Value != "" {
			text += "=" + toleration.Value
		}
		if toleration.Effect != "" {
			text += ":" + toleration.Effect
		}
		t.add("toleration", clean(text))
	}
	return t
}

// sourceDetails are the packages of a source that are not as its revision says.
func sourceDetails(d *oprc.SourceStatus) string {
	var kept, findings table
	for _, name := range d.Kept {
		kept.add(clean(name), "stays at its last good state")
	}
	for _, name := range d.Quarantined {
		kept.add(clean(name), "quarantined by oprc undo until a new revision changes it")
	}
	for _, f := range d.Findings {
		findings.add(clean(f.String()))
	}
	return section("Kept", kept) + section("Findings", findings)
}

func section(title string, t table) string {
	if len(t.rows) == 0 {
		return ""
	}
	return "\n" + bold(title+":") + "\n" + t.render("  ")
}

func packageDetails(d *reconcile.PackageView) string {
	var classes, functions, deployments table
	for _, c := range d.Spec.Classes {
		classes.add(clean(oprc.Key(d.Name, c.Name)), dash(string(c.StateType)))
	}
	for _, f := range d.Spec.Functions {
		functions.add(clean(oprc.Key(d.Name, f.Name)), dash(string(f.Type)), dash(f.Provision.Image()))
	}
	for _, x := range d.Deployments {
		deployments.add(clean(x.Key), condition(x.Condition))
	}
	out := ""
	if len(d.Spec.Required) > 0 {
		out = "\n" + bold("Required: ") + clean(strings.Join(d.Spec.Required, ", ")) + "\n"
	}
	return out + section("Classes", classes) + section("Functions", functions) + section("Deployments", deployments)
}

func bindingDetails(d *reconcile.ClassView) string {
	bindings := map[string]oprc.Binding{}
	if d.Resolved != nil {
		bindings = d.Resolved.Functions
	} else {
		for _, b := range d.Functions {
			bindings[b.Name] = b
		}
	}
	t := table{header: []string{"BINDING", "FUNCTION", "ACCESS", "OUTPUT"}}
	for _, name := range slices.Sorted(maps.Keys(bindings)) {
		b := bindings[name]
		t.add(clean(name), clean(b.Function), dash(string(b.Access)), dash(b.OutputCls))
	}
	out := section("Bindings", t)
	if d.Resolved != nil && len(d.Resolved.Ancestors) > 0 {
		out += "\n" + bold("Inherits from: ") + clean(strings.Join(d.Resolved.Ancestors, ", ")) + "\n"
	}
	return out
}

func functionDetails(d *reconcile.FunctionView) string {
	if d.Macro == nil {
		return ""
	}
	t := table{header: []string{"STEP", "FUNCTION", "TARGET", "AS"}}
	for i, s := range d.Macro.Steps {
		t.add(strconv.Itoa(i), clean(s.Function), dash(s.Target), dash(s.As))
	}
	return section("Macro", t)
}

func deploymentDetails(d *reconcile.DeploymentView) string {
	members := table{header: []string{"MEMBER", "ENVIRONMENT", "MAX-SHARDS", "ALL-PARTITIONS", "DISABLED", "STANDBY"}}
	for _, m := range d.Members {
		limit := "-"
		if m.Limit() >= 0 {
			limit = strconv.Itoa(m.Limit())
		}
		members.add(strconv.Itoa(m.ID), clean(m.Env), limit, yes(m.AllPartitions), dash(strings.Join(m.DisabledFn, ",")), dash(strings.Join(m.StandbyFn, ",")))
	}
	parts := table{header: []string{"PARTITION", "PRIMARY", "OWNERS", "SHARDS"}}
	for i, a := range d.Assignments {
		parts.add(strconv.Itoa(i), strconv.Itoa(a.Primary), numbers(a.Owners), numbers(a.ShardIDs))
	}
	return section("Members", members) + section("Assignments", parts)
}

func unitDetails(d *reconcile.UnitView) string {
	t := table{header: []string{"FUNCTION", "CONDITION", "IMAGE", "URL", "ERROR"}}
	for _, f := range d.Unit.Functions {
		var s oprc.FunctionStatus
		if d.Status != nil {
			s = d.Status.Functions[f.Key]
		}
		t.add(clean(f.Key), condition(s.Condition), dash(f.Image), dash(s.InvocationURL), dash(s.ErrorMsg))
	}
	return section("Functions", t)
}

func unitTroubles(units []reconcile.Object) string {
	var t table
	for _, obj := range units {
		if u, ok := obj.Doc.(*reconcile.UnitView); ok && u.Status != nil && u.Status.ErrorMsg != "" {
			t.add(clean(u.Unit.ID), red(clean(u.Status.ErrorMsg)))
		}
	}
	return section("Errors", t)
}

func numbers(ns []int) string {
	parts := make([]string, len(ns))
	for i, n := range ns {
		parts[i] = strconv.Itoa(n)
	}
	return dash(strings.Join(parts, ", "))
}

func (o Output) eventTable(events []oprc.Event) table {
	t := table{header: []string{"TIME", "TYPE", "OBJECT", "CHANGE", "MESSAGE"}}
	for _, e := range events {
		object := clean(e.Key)
		if e.Kind != "" {
			object = fmt.Sprintf("%s/%s", e.Kind, object)
		}
		change := "-"
		if e.To != "" {
			change = condition(e.From) + " → " + condition(e.To)
		}
		t.add(o.age(e.Time), dash(e.Type), dash(object), change, dash(e.Message))
	}
	return t
}
