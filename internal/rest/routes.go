package rest

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/trace"
)

// A handler answers a request, or says why not.
type handler func(http.ResponseWriter, *http.Request) error

// A route is one line of the table that requests are routed by. The same line says
// which query parameters there are, who may use the route, and what the OpenAPI
// document says of it.
type route struct {
	method, path string // as ServeMux writes them
	name, says   string // operation id; what it does, in one sentence
	role         Role   // least role; Anybody: no identity is needed
	query        []param
	takes        []string // media types of the body; none: there is no body
	body         any      // a value of the body's type; nil: any document
	answers      any      // a value of the type of a good answer
	or           []any    // values of other types of a good answer
	good         []int    // its statuses; none: 200
	bad          []int    // statuses of problems, besides those of every route
	media        string   // of a good answer; "": JSON
	bare         bool     // not under /api
	lasts        bool     // a stream: it is not measured, and has no deadline
	serve        handler
}

// A param is a query parameter.
type param struct {
	name, kind, says string // kind is string, integer or boolean
	enum             []string
	least, most      int // of an integer
}

func words(name, says string) param  { return param{name: name, kind: "string", says: says} }
func toggle(name, says string) param { return param{name: name, kind: "boolean", says: says} }

// who are the parameters that say, for the record, who acts and why.
func who() []param {
	return []param{
		words("actor", "Who acts, for the record. A server that knows its callers records those instead."),
		words("revision", "Commit that is carried out, for the record."),
		words("message", "Why, for the record."),
	}
}

func packageParams() []param {
	return append(who(),
		toggle("strict", "Accept only fields and spellings of the specification."),
		toggle("takeOwnership", "Change packages that another origin owns."),
		words("pkg", "Name for a package that has none."))
}

// pageParams are those of a listing of a kind.
func pageParams(kind oprc.Kind) []param {
	return append([]param{
		{name: "sort", kind: "string", says: "Member to sort by.", enum: sorts[kind]},
		words("after", "Cursor: begin after the object with this key, sorted by key. The answer's next is the cursor of the next page."),
		toggle("objects", "Answer each object with its kind and key around it, in the form that oprc itself reads."),
		words("fields", "Members to answer with, separated by commas; all others are left out."),
		words("package", "Only objects of this package."),
		words("class", "Only objects of this class."),
		words("env", "Only objects in this environment."),
		words("condition", "Only objects in this condition."),
		words("label", "Only environments with this label: NAME=VALUE, or NAME."),
		words("needs", "Only packages that refer to this one: by what they require, inherit from or bind. Several names are separated by commas."),
		words("since", "Only objects that changed at or after this time (RFC 3339)."),
	}, windowParams()...)
}

func windowParams() []param {
	return []param{
		{name: "offset", kind: "integer", says: "Objects to skip.", most: 1<<31 - 1},
		{name: "limit", kind: "integer", says: "Most objects to answer with; 20 if not given.", least: 1, most: maxLimit},
		toggle("desc", "Sort in descending order."),
	}
}

func oneParams() []param {
	return []param{
		toggle("objects", "Answer with the object's kind and key around it, in the form that oprc itself reads."),
		words("fields", "Members to answer with, separated by commas; all others are left out."),
	}
}

var dryRun = toggle("dryRun", "Answer with the plan, and change nothing.")

var (
	writes  = []int{400, 403, 409, 412, 413, 415}
	jsonIn  = []string{jsonType}
	planIn  = append(slices.Clone(packageTypes), requestType)
	options = []string{jsonType, requestType}
)

// table is every route.
func (a *api) table() []route {
	out := slices.Concat(a.packageRoutes(), a.planRoutes(), a.deploymentRoutes(), a.environmentRoutes(), a.sourceRoutes(), a.eventRoutes(), a.ownRoutes())
	for _, l := range []struct {
		path string
		kind oprc.Kind
		doc  any
	}{
		{"/packages", oprc.KindPackage, OPackage{}},
		{"/classes", oprc.KindClass, OClass{}},
		{"/functions", oprc.KindFunction, OFunction{}},
		{"/deployments", oprc.KindDeployment, OClassDeployment{}},
		{"/units", oprc.KindUnit, reconcile.UnitView{}},
		{"/cr", oprc.KindRuntime, oprc.ClassRuntime{}},
		{"/environments", oprc.KindEnv, OEnvironment{}},
		{"/crms", oprc.KindCRM, reconcile.CRMView{}},
		{"/sources", oprc.KindSource, oprc.SourceStatus{}},
	} {
		key := "/{key}"
		if l.kind == oprc.KindUnit || l.kind == oprc.KindCRM {
			key = "/{key...}"
		}
		noun := strings.ToUpper(string(l.kind)[:1]) + string(l.kind)[1:]
		out = append(out,
			route{
				method: http.MethodGet, path: l.path, name: "list" + noun, says: "Lists objects of the kind " + string(l.kind) + ".",
				role: Viewer, query: pageParams(l.kind), answers: pageOf(l.doc), bad: []int{400}, serve: a.list(l.kind),
			},
			route{
				method: http.MethodGet, path: l.path + key, name: "get" + noun, says: "Answers with one object of the kind " + string(l.kind) + ".",
				role: Viewer, query: oneParams(), answers: l.doc, bad: []int{404}, serve: a.one(l.kind),
			})
	}
	return out
}

func (a *api) packageRoutes() []route {
	return []route{
		{
			method: "POST", path: "/packages", name: "createPackage", says: "Plans and applies a package, or several in one YAML stream.", role: Editor,
			query: append(packageParams(), dryRun), takes: packageTypes, answers: OPackage{}, or: []any{pageOf(OPackage{})}, good: []int{200, 201}, bad: append([]int{422}, writes...), serve: a.once(a.postPackage),
		},
		{
			method: "DELETE", path: "/packages/{key}", name: "deletePackage", says: "Deletes a package and undeploys its classes.", role: Editor,
			query: append(who(), toggle("takeOwnership", "Delete it although another origin owns it."), dryRun), answers: accepted{}, good: []int{200, 202},
			bad: append([]int{404}, writes...), serve: a.once(a.deletePackage),
		},
		{
			method: "POST", path: "/packages/{key}/undo", name: "undoPackage", says: "Applies an earlier revision of a package again.", role: Editor,
			query: who(), takes: options, body: undoing{}, answers: reconcile.Undone{}, or: []any{plan.Plan{}}, bad: append([]int{404}, writes...), serve: a.once(a.undoPackage),
		},
		{
			method: "POST", path: "/packages/{key}/adopt", name: "adoptPackage", says: "Lets a source take over a package that another origin owns.", role: Approver,
			query: who(), takes: options, body: adoption{}, answers: ticket{}, good: []int{202}, bad: []int{400, 404, 409, 413, 415}, serve: a.once(a.adoptPackage),
		},
		{
			method: "DELETE", path: "/classes/{key}", name: "deleteClass", says: "Undeploys a class and marks it for removal.", role: Editor,
			query: append(who(), dryRun), answers: accepted{}, good: []int{200, 202}, bad: append([]int{404}, writes...), serve: a.once(a.deleteClass),
		},
	}
}

func (a *api) planRoutes() []route {
	return []route{
		{
			method: "POST", path: "/plan", name: "plan", says: "Plans a submitted package and keeps the plan for a day.", role: Planner,
			query: packageParams(), takes: planIn, answers: plan.Plan{}, bad: writes, serve: a.postPlan,
		},
		{
			method: "POST", path: "/plan/{id}/apply", name: "applyPlan", says: "Applies what was planned under that id, if it comes out the same again; a plan that a source holds is approved.",
			role: Editor, query: who(), answers: reconcile.Result{}, good: []int{200, 202}, bad: append([]int{404}, writes...), serve: a.once(a.applyPlan),
		},
		{
			method: "POST", path: "/apply", name: "apply", says: "Applies a whole request under conditions, as oprc itself sends it.", role: Editor,
			query: who(), takes: []string{requestType}, body: application{}, answers: reconcile.Result{}, bad: writes, serve: a.once(a.applyRequest),
		},
		{
			method: "GET", path: "/plans/{id}", name: "getPlan", says: "Answers with a kept plan, or with one that a source holds.", role: Planner,
			answers: plan.Plan{}, bad: []int{404}, serve: a.getPlan,
		},
		{
			method: "GET", path: "/snapshot", name: "getSnapshot", says: "Answers with live state, to plan against elsewhere; keyed hashes take the place of secrets.", role: Planner,
			query: []param{words("mask", "Further patterns of keys whose values are hidden, separated by commas.")}, answers: map[string]any{}, serve: a.snapshot,
		},
	}
}

func (a *api) deploymentRoutes() []route {
	return []route{
		{
			method: "POST", path: "/deployments", name: "createDeployment", says: "Adds a deployment to the package of its class.", role: Editor,
			query: append(who(), dryRun), takes: jsonIn, body: map[string]any{}, answers: OClassDeployment{}, good: []int{200, 201}, bad: append([]int{404}, writes...), serve: a.once(a.postDeployment),
		},
		{
			method: "PUT", path: "/deployments/{key}", name: "putDeployment", says: "Replaces a deployment.", role: Editor,
			query: append(who(), dryRun), takes: jsonIn, body: map[string]any{}, answers: OClassDeployment{}, bad: append([]int{404}, writes...), serve: a.once(a.putDeployment),
		},
		{
			method: "POST", path: "/cr/{key}/update", name: "updateRuntime", says: "Merges a newer state of a class runtime.", role: Editor,
			takes: jsonIn, body: runtimeUpdate{}, answers: updatedRuntime{}, bad: []int{400, 404, 413, 415}, serve: a.updateRuntime,
		},
	}
}

func (a *api) environmentRoutes() []route {
	return []route{
		{
			method: "POST", path: "/environments", name: "createEnvironment", says: "Declares an environment, or changes one.", role: Admin,
			query: append(who(), dryRun), takes: packageTypes, answers: OEnvironment{}, good: []int{200, 201}, bad: writes, serve: a.once(a.postEnvironment),
		},
		{
			method: "PUT", path: "/environments/{key}", name: "putEnvironment", says: "Replaces the declaration of an environment.", role: Admin,
			query: append(who(), dryRun), takes: packageTypes, answers: OEnvironment{}, bad: append([]int{404}, writes...), serve: a.once(a.putEnvironment),
		},
		{
			method: "DELETE", path: "/environments/{key}", name: "deleteEnvironment", says: "Deletes an environment in which nothing runs.", role: Admin,
			query: append(who(), toggle("takeOwnership", "Delete it although another origin owns it."), dryRun), answers: accepted{}, good: []int{200, 202},
			bad: append([]int{404}, writes...), serve: a.once(a.deleteEnvironment),
		},
		{
			method: "GET", path: "/environments/{key}/queue", name: "commandQueue", says: "Tells how far the commands of an environment have come.", role: Viewer,
			answers: commandQueue{}, bad: []int{404}, serve: a.commandQueue,
		},
		{
			method: "GET", path: "/dead", name: "listDead", says: "Lists dead letters, newest first.", role: Viewer,
			query: append(windowParams(), words("env", "Only those of this environment.")), answers: pageOf(oprc.DeadEntry{}), bad: []int{400, 404}, serve: a.listDead,
		},
		{
			method: "POST", path: "/dead/{env}/retry", name: "retryDead", says: "Puts dead letters back at the end of their stream.", role: Editor,
			takes: jsonIn, body: letters{}, answers: handled{}, bad: []int{400, 404, 413, 415}, serve: a.retryDead,
		},
		{
			method: "POST", path: "/dead/{env}/drop", name: "dropDead", says: "Deletes dead letters.", role: Admin,
			takes: jsonIn, body: letters{}, answers: handled{}, bad: []int{400, 404, 413, 415}, serve: a.dropDead,
		},
	}
}

func (a *api) sourceRoutes() []route {
	return []route{
		{
			method: "POST", path: "/sources/{key}/reconcile", name: "reconcileSource", says: "Asks for a reconciliation of a source now.", role: Editor,
			query: who(), answers: ticket{}, good: []int{202}, bad: []int{404}, serve: a.reconcileSource,
		},
		{
			method: "POST", path: "/sources/{key}/suspend", name: "suspendSource", says: "Suspends a source.", role: Approver,
			query: append(who(), oneParams()...), takes: options, body: suspending{}, answers: oprc.SourceStatus{}, bad: []int{400, 404, 413, 415}, serve: a.suspendSource,
		},
		{
			method: "POST", path: "/sources/{key}/resume", name: "resumeSource", says: "Ends the suspension of a source.", role: Approver,
			query: append(who(), oneParams()...), answers: oprc.SourceStatus{}, bad: []int{404, 409}, serve: a.resumeSource,
		},
		{
			method: "GET", path: "/sources/{key}/plan", name: "planSource", says: "Plans what the daemon would apply for a source at its next poll.", role: Planner,
			query: []param{
				words("ref", "Another branch, tag, range or commit of the source."),
				toggle("complete", "The plan as a plan file has it, with secrets, so that it can be applied."),
			},
			answers: SourcePlan{}, bad: []int{400, 404, 409}, serve: a.planSource,
		},
		{
			method: "POST", path: "/sources/{key}/plan", name: "planAsSource", says: "Plans files as the daemon will once they are the source's newest revision.", role: Planner,
			takes: jsonIn, body: loop.Proposal{}, answers: SourcePlan{}, bad: []int{400, 404, 409, 413, 415}, serve: a.planAsSource,
		},
		{
			method: "POST", path: "/hooks/{source}", name: "postHook", says: "Takes a webhook of GitHub, GitLab or Gitea; its signature is checked.", role: Anybody,
			takes: []string{"*/*"}, answers: map[string]string{}, good: []int{202}, bad: []int{401, 404, 413}, serve: a.postHook,
		},
	}
}

func (a *api) eventRoutes() []route {
	since := words("since", "Id of the event after which to begin.")
	filters := []param{
		words("package", "Only events of this package."), words("class", "Only events of this class."), words("env", "Only events of this environment."),
		words("type", "Only events of this type."), words("kind", "Only events of objects of this kind."),
	}
	sorted := func(names ...string) []param {
		return append(windowParams(), param{name: "sort", kind: "string", says: "Only the default is possible.", enum: names})
	}
	return []route{
		{
			method: "GET", path: "/events", name: "listEvents", says: "Lists what happened, oldest first.", role: Viewer,
			query: slices.Concat(sorted("_key", "id", "ts"), filters, []param{since}), answers: pageOf(oprc.Event{}), bad: []int{400}, serve: a.events,
		},
		{
			method: "GET", path: "/history/{key}", name: "listHistory", says: "Lists the writes of a package, newest first.", role: Viewer,
			query: sorted("_key", "id", "ts", "rev"), answers: pageOf(oprc.HistoryEntry{}), bad: []int{400, 404}, serve: a.history,
		},
		{
			method: "GET", path: "/watch", name: "watch", says: "Sends what happens, as it happens: Server-Sent Events, or a WebSocket on upgrade.", role: Viewer,
			query: append(filters, since), answers: "", media: "text/event-stream", bad: []int{400, 410}, lasts: true, serve: a.watch,
		},
		{
			method: "GET", path: "/topology", name: "getTopology", says: "Lists deployed classes with the condition of each replica.", role: Viewer,
			query: topologyParams(), answers: topologyPage{}, bad: []int{400}, serve: a.topology,
		},
	}
}

func (a *api) ownRoutes() []route {
	health, metrics := orPath(a.HealthPath, "/health"), orPath(a.MetricsPath, "/metrics")
	return []route{
		{method: "GET", path: health, name: "health", says: "Answers while the process runs.", role: Anybody, answers: map[string]string{}, bare: true, serve: a.health},
		{method: "GET", path: "/ready", name: "ready", says: "Answers while the state can be read; status is DEGRADED, with the reason, while it takes no writes.", role: Anybody, answers: readiness{}, bare: true, serve: a.ready},
		{method: "GET", path: metrics, name: "metrics", says: "Metrics for Prometheus.", role: a.metricsRole(), answers: "", media: "text/plain", bare: true, serve: a.metrics},
		{method: "GET", path: "/openapi.json", name: "openapi", says: "This document.", role: Anybody, answers: map[string]any{}, serve: a.openapi},
		{method: "GET", path: "/docs", name: "docs", says: "A page that shows this document.", role: Anybody, answers: "", media: "text/html", serve: a.docs},
		{method: "GET", path: "/docs/{file}", name: "docsFile", says: "A file of that page.", role: Anybody, answers: "", media: "*/*", bad: []int{404}, serve: a.docs},
		{method: "GET", path: "/auth/whoami", name: "whoami", says: "Says who the server takes the caller for.", role: Anybody, answers: Identity{}, serve: a.whoami},
		{
			method: "GET", path: "/auth/can-i", name: "canI", says: "Says whether the caller may do something.", role: Anybody,
			query:   []param{words("verb", "What to do, as in apply."), words("kind", "Kind of the object, as in package."), words("name", "Name of the object.")},
			answers: Permission{}, bad: []int{400}, serve: a.canI,
		},
		{method: "GET", path: "/auth/tokens", name: "listTokens", says: "Lists tokens, without what they are.", role: Admin, query: windowParams(), answers: pageOf(Token{}), bad: []int{400}, serve: a.listTokens},
		{
			method: "POST", path: "/auth/tokens", name: "createToken", says: "Makes a token; this answer is the only one that shows it.", role: Admin,
			takes: jsonIn, body: Token{}, answers: NewToken{}, good: []int{201}, bad: []int{400, 403, 409, 413, 415}, serve: a.createToken,
		},
		{method: "DELETE", path: "/auth/tokens/{key}", name: "revokeToken", says: "Revokes a token.", role: Admin, answers: handled{}, bad: []int{404}, serve: a.revokeToken},
	}
}

func orPath(path, otherwise string) string {
	if path == "" {
		return otherwise
	}
	return "/" + strings.TrimPrefix(path, "/")
}

// register gives every line of the table to the mux, bare and under /api.
func (a *api) register() {
	a.routes = a.table()
	for i := range a.routes {
		r := &a.routes[i]
		h := a.guarded(r)
		if !r.lasts && !r.bare {
			h = a.Metrics.measured(strings.TrimSuffix(r.path, "..."), h)
		}
		a.mux.Handle(r.method+" "+r.path, h)
		if !r.bare {
			a.mux.Handle(r.method+" /api"+r.path, h)
		}
	}
}

// guarded is the way of every request to its handler: who asks, how much of that, with
// what parameters, for how long.
func (a *api) guarded(rt *route) http.Handler {
	name := rt.method + " " + rt.path
	return a.plain(func(w http.ResponseWriter, r *http.Request) error {
		trace.Rename(r.Context(), name)
		if err := a.admit(rt, r); err != nil {
			return err
		}
		if err := checkQuery(rt, r); err != nil {
			return err
		}
		if rt.lasts {
			return rt.serve(w, r)
		}
		return a.bounded(rt, w, r)
	})
}

// checkQuery refuses parameters that the route does not have, ones that are given
// twice, and values of another kind.
func checkQuery(rt *route, r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return refuse(http.StatusBadRequest, "the query cannot be read: %v", err)
	}
	for name, values := range q {
		i := slices.IndexFunc(rt.query, func(p param) bool { return p.name == name })
		switch {
		case i < 0:
			return refuse(http.StatusBadRequest, "%s has no query parameter %q%s", r.URL.Path, clip(name), nearest(name, rt.query))
		case len(values) > 1:
			return refuse(http.StatusBadRequest, "the query parameter %q is given %d times", name, len(values))
		}
		if err := rt.query[i].check(values[0]); err != nil {
			return err
		}
	}
	return nil
}

func nearest(name string, of []param) string {
	names := make([]string, len(of))
	for i, p := range of {
		names[i] = p.name
	}
	if near := oprc.Nearest(name, names); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

func (p param) check(value string) error {
	if value == "" {
		return nil
	}
	switch p.kind {
	case "integer":
		if n, err := strconv.Atoi(value); err != nil || n < p.least || n > p.most {
			return refuse(http.StatusBadRequest, "%s=%s: a number from %d to %d is needed", p.name, clip(value), p.least, p.most)
		}
	case "boolean":
		if _, err := strconv.ParseBool(value); err != nil {
			return refuse(http.StatusBadRequest, "%s=%s: true or false is needed", p.name, clip(value))
		}
	}
	if len(p.enum) > 0 && !slices.Contains(p.enum, value) {
		return refuse(http.StatusBadRequest, "%s=%s: one of %s is needed", p.name, clip(value), strings.Join(p.enum, ", "))
	}
	return nil
}

// clip shortens what a client sent, for a message.
func clip(s string) string {
	const most = 100
	if len(s) <= most {
		return strings.ToValidUTF8(s, "?")
	}
	return strings.ToValidUTF8(s[:most], "?") + "…"
}

// route finds the handler of a request. What ServeMux has no handler for, and what it
// would redirect, becomes a problem.
func (a *api) route(w http.ResponseWriter, r *http.Request) {
	if clean := path.Clean("/" + r.URL.Path); clean != r.URL.Path {
		a.fail(w, r, refuse(http.StatusNotFound, "there is no %s: did you mean %s?", clip(r.URL.Path), clip(clean)))
		return
	}
	if _, pattern := a.mux.Handler(r); pattern != "" {
		a.mux.ServeHTTP(w, r)
		return
	}
	var allow []string
	for _, method := range []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := a.mux.Handler(other); pattern != "" {
			allow = append(allow, method)
		}
	}
	if len(allow) > 0 {
		w.Header().Set("Allow", strings.Join(allow, ", "))
		a.fail(w, r, refuse(http.StatusMethodNotAllowed, "%s does not take %s, but %s", clip(r.URL.Path), clip(r.Method), strings.Join(allow, ", ")))
		return
	}
	a.fail(w, r, refuse(http.StatusNotFound, "there is no %s", clip(r.URL.Path)))
}
