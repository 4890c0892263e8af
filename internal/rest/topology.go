package rest

import (
	"net/http"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A topologyPage is a page of deployed classes, and how many of all there are in each
// condition.
type topologyPage struct {
	Total      int                       `json:"total"`
	Offset     int                       `json:"offset"`
	ItemCount  int                       `json:"itemCount"`
	Items      []reconcile.ClassTopology `json:"items"`
	Conditions map[oprc.Condition]int    `json:"conditions"` // of the caller's classes, whatever the filter
}

func topologyParams() []param {
	return append([]param{
		words("package", "Only classes of this package."),
		words("class", "Only classes whose key contains this text."),
		words("env", "Only classes with a replica in this environment."),
		words("condition", "Only classes in this condition."),
		toggle("unwell", "Only classes that are not RUNNING, or drift."),
	}, windowParams()...)
}

// topology answers with deployed classes and the replicas of each, by class.
func (a *api) topology(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	win, err := newWindow(q, []string{"_key"})
	if err != nil {
		return err
	}
	unwell, err := flag(q, "unwell")
	if err != nil {
		return err
	}
	in, err := a.Control.Inspect(r.Context())
	if err != nil {
		return err
	}
	keys, err := in.Keys(oprc.KindDeployment)
	if err != nil {
		return err
	}
	if keys, err = a.seenDeployments(r, in, keys); err != nil {
		return err
	}
	env := q.Get("env")
	unseen := !matches(caller(r).Environments, env) && env != "" // a replica that leaves may still be there
	p := topologyPage{Conditions: map[oprc.Condition]int{}, Offset: win.offset}
	condition, part := strings.ToUpper(q.Get("condition")), strings.ToLower(q.Get("class"))
	var on []string
	for _, key := range keys {
		c, _ := in.ConditionOf(key)
		p.Conditions[c]++
		t, _ := in.Topology(key)
		if (condition == "" || condition == string(c)) && (!unwell || c != oprc.Running || t.Drift) &&
			(part == "" || strings.Contains(strings.ToLower(key), part)) &&
			(q.Get("package") == "" || q.Get("package") == t.Package) && (env == "" || !unseen && runsIn(t, env)) {
			on = append(on, key)
		}
	}
	shown, keys := cut(win, on)
	p.Total, p.ItemCount, p.Items = shown.Total, len(keys), make([]reconcile.ClassTopology, 0, len(keys))
	for _, key := range keys {
		t, _ := in.Topology(key)
		p.Items = append(p.Items, t)
	}
	return a.reply(w, r, http.StatusOK, p)
}

func runsIn(t reconcile.ClassTopology, env string) bool {
	for _, u := range t.Replicas {
		if u.Env == env {
			return true
		}
	}
	return false
}

// seenDeployments are those of the keys that are the caller's to see.
func (a *api) seenDeployments(r *http.Request, in *reconcile.Inspection, keys []string) ([]string, error) {
	who := caller(r)
	if !who.limited() {
		return keys, nil
	}
	objects, err := in.Objects(r.Context(), oprc.KindDeployment, keys)
	if err != nil {
		return nil, err
	}
	var seen []string
	for _, o := range objects {
		if who.sees(o) {
			seen = append(seen, o.Key)
		}
	}
	return seen, nil
}
