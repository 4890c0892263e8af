package console

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A kind of objects has a listing and a page for each object. Its path is the same here
// and in the API.
type kind struct {
	path, name, title string
	filters           []string
	rows              func(v *visit, q url.Values) (table, error)
	detail            func(v *visit, key string) (detail, error)
}

func kinds() []kind {
	return []kind{
		{"packages", "package", "Packages", []string{"condition"}, packageRows, packageDetail},
		{"classes", "class", "Classes", []string{"package", "condition"}, classRows, classDetail},
		{"functions", "function", "Functions", []string{"package", "condition"}, functionRows, functionDetail},
		{"deployments", "deployment", "Deployments", []string{"package", "env", "condition"}, deploymentRows, deploymentDetail},
		{"units", "unit", "Units", []string{"package", "class", "env", "condition"}, unitRows, unitDetail},
		{"environments", "environment", "Environments", nil, environmentRows, environmentDetail},
		{"crms", "crm", "CRMs", []string{"env"}, crmRows, crmDetail},
		{"sources", "source", "Sources", nil, sourceRows, sourceDetail},
	}
}

// A listPage is a page of one kind.
type listPage struct {
	Path    string
	Filters []filter
	Table   table
}

type filter struct{ Name, Value string }

func (s *server) list(v *visit, k kind) error {
	q := v.r.URL.Query()
	t, err := k.rows(v, window(q, k.filters...))
	if err != nil {
		return err
	}
	p := listPage{Path: k.path, Table: t}
	for _, name := range k.filters {
		p.Filters = append(p.Filters, filter{name, q.Get(name)})
	}
	return v.render(http.StatusOK, "list", k.path, k.title, p)
}

// rowsOf reads a page of objects, and makes a row of each.
func rowsOf[T any](v *visit, path string, q url.Values, head []column, row func(string, T) []cell) (table, error) {
	l, err := objects[T](v, path, q)
	if err != nil {
		return table{}, err
	}
	t := table{Head: head, Empty: "There are no " + path + " here.", Pager: paged(v.r.URL, offsetOf(q), len(l.Items), l.Total)}
	for _, o := range l.Items {
		t.Rows = append(t.Rows, row(o.Key, o.Doc))
	}
	return t, nil
}

func packageRows(v *visit, q url.Values) (table, error) {
	head := []column{
		{Title: "Package", Sort: "_key"},
		{Title: "Condition", Sort: "condition"},
		{Title: "Version"},
		{Title: "Revision", Sort: "_rev", Number: true},
		{Title: "Deployments", Number: true},
		{Title: "Origin", Sort: "origin"},
		{Title: "Commit"},
		{Title: "Applied", Sort: "appliedAt"},
	}
	return rowsOf(v, "packages", q, head, func(key string, p reconcile.PackageView) []cell {
		return []cell{
			to("packages", key), state(p.Condition), text(p.Spec.Version), number(p.Rev), number(len(p.Deployments)),
			originCell(p.Origin), code(short(commitOf(p.Source))), when(p.AppliedAt),
		}
	})
}

func commitOf(s *oprc.SourceRef) string {
	if s == nil {
		return ""
	}
	return s.Commit
}

// originCell links to the source that owns something.
func originCell(origin string) cell {
	if name, ok := strings.CutPrefix(origin, "git:"); ok {
		return link(origin, pathOf("sources", name))
	}
	return text(origin)
}

func classRows(v *visit, q url.Values) (table, error) {
	head := []column{
		{Title: "Class", Sort: "_key"},
		{Title: "Condition", Sort: "condition"},
		{Title: "Package", Sort: "pkg"},
		{Title: "State"},
		{Title: "Bindings", Number: true},
		{Title: "Parents"},
	}
	return rowsOf(v, "classes", q, head, func(key string, c reconcile.ClassView) []cell {
		return []cell{
			to("classes", key), state(c.Condition), to("packages", c.Pkg), text(string(c.StateType)), number(len(c.Functions)), text(strings.Join(c.Parents, ", ")),
		}
	})
}

func functionRows(v *visit, q url.Values) (table, error) {
	head := []column{
		{Title: "Function", Sort: "_key"}, {Title: "Condition"}, {Title: "Package", Sort: "pkg"}, {Title: "Type", Sort: "type"}, {Title: "Image"},
	}
	return rowsOf(v, "functions", q, head, func(key string, f reconcile.FunctionView) []cell {
		return []cell{to("functions", key), state(f.Status.Condition), to("packages", f.Pkg), text(string(f.Type)), code(f.Provision.Image())}
	})
}

func deploymentRows(v *visit, q url.Values) (table, error) {
	head := []column{
		{Title: "Class", Sort: "_key"},
		{Title: "Condition", Sort: "condition"},
		{Title: "Running", Sort: "running", Number: true},
		{Title: "Partitions", Number: true},
		{Title: "Replicas", Number: true},
		{Title: "Environments"},
		{Title: "Drift", Sort: "drift"},
	}
	return rowsOf(v, "deployments", q, head, func(key string, d reconcile.DeploymentView) []cell {
		return []cell{
			to("deployments", key), state(d.Condition),
			{Text: fmt.Sprintf("%d / %d", d.Running, d.Units), Number: true},
			number(d.PartitionCount), number(d.ReplicaCount), text(strings.Join(d.TargetEnvs, ", ")), yes(d.Drift, "drift"),
		}
	})
}

func unitRows(v *visit, q url.Values) (table, error) {
	head := []column{
		{Title: "Unit", Sort: "_key"},
		{Title: "Condition", Sort: "condition"},
		{Title: "Environment"},
		{Title: "Role"},
		{Title: "Generation", Sort: "generation", Number: true},
		{Title: "Sent", Sort: "dispatchedAt"},
		{Title: "Report"},
		{Title: "Drift", Sort: "drift"},
	}
	return rowsOf(v, "units", q, head, func(key string, u reconcile.UnitView) []cell {
		return []cell{
			to("units", key), state(u.Condition), to("environments", u.Unit.TargetEnv), yes(u.Unit.Primary, "primary"),
			number(u.Generation), when(u.DispatchedAt), reported(u), yes(u.Drift, "drift"),
		}
	})
}

func reported(u reconcile.UnitView) cell {
	switch {
	case u.Status == nil || u.Status.Generation == 0:
		return text("none yet")
	case !u.Settled:
		return text(fmt.Sprintf("of generation %d", u.Status.Generation))
	case u.Status.ErrorMsg != "":
		return text(u.Status.ErrorMsg)
	}
	return when(u.Status.Time)
}

func environmentRows(v *visit, q url.Values) (table, error) {
	head := []column{
		{Title: "Environment", Sort: "_key"},
		{Title: "Health", Sort: "health"},
		{Title: "Availability", Sort: "availability", Number: true},
		{Title: "Units", Sort: "units", Number: true},
		{Title: "Most", Number: true},
		{Title: "CRMs alive", Number: true},
		{Title: "Default"},
		{Title: "Origin"},
	}
	return rowsOf(v, "environments", q, head, func(key string, e reconcile.EnvironmentView) []cell {
		c := cardOf(e, v.now)
		limit := text("no limit")
		if c.Max >= 0 {
			limit = number(c.Max)
		}
		return []cell{
			to("environments", key), state(c.Health),
			{Text: fmt.Sprint(c.Availability), Number: true},
			number(c.Units), limit,
			{Text: fmt.Sprintf("%d / %d", c.Alive, c.CRMs), Number: true},
			yes(c.Default, "default"), originCell(e.Origin),
		}
	})
}

func crmRows(v *visit, q url.Values) (table, error) {
	head := []column{{Title: "CRM", Sort: "_key"}, {Title: "State", Sort: "alive"}, {Title: "Environment", Sort: "env"}, {Title: "Last heartbeat", Sort: "ts"}, {Title: "Templates"}}
	return rowsOf(v, "crms", q, head, func(key string, c reconcile.CRMView) []cell {
		return []cell{to("crms", key), aliveCell(c.Alive), to("environments", c.Env), when(c.Time), text(strings.Join(c.Templates, ", "))}
	})
}

func aliveCell(alive bool) cell {
	if alive {
		return state("ALIVE")
	}
	return state("SILENT")
}

func sourceRows(v *visit, q url.Values) (table, error) {
	head := []column{
		{Title: "Source", Sort: "_key"},
		{Title: "State"},
		{Title: "Repository", Sort: "url"},
		{Title: "Ref"},
		{Title: "Seen"},
		{Title: "Applied"},
		{Title: "Findings", Number: true},
		{Title: "Last look", Sort: "lastTick"},
	}
	return rowsOf(v, "sources", q, head, func(key string, st oprc.SourceStatus) []cell {
		c := stateOf(st)
		return []cell{
			to("sources", key),
			{Text: c.State, State: true, Note: c.Why},
			code(st.URL), text(cmp.Or(st.Ref, "default")), code(short(st.Revision)),
			code(short(st.Applied)), number(len(st.Findings)), when(st.LastTick),
		}
	})
}
