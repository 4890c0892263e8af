package rest

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// Metrics is what /metrics shows. It is made by [NewMetrics].
type Metrics struct {
	registry *prometheus.Registry
	duration *prometheus.HistogramVec

	mu           sync.Mutex // one scrape at a time fills the gauges
	up           prometheus.Gauge
	writable     prometheus.Gauge
	packages     prometheus.Gauge
	deployments  *prometheus.GaugeVec
	units        *prometheus.GaugeVec
	drift        prometheus.Gauge
	environments *prometheus.GaugeVec
	crms         *prometheus.GaugeVec
	inflight     *prometheus.GaugeVec

	git       *prometheus.CounterVec
	notified  *prometheus.CounterVec
	lag       *prometheus.HistogramVec
	resent    *prometheus.CounterVec
	leading   prometheus.Gauge
	leads     func() bool
	differing prometheus.Gauge
	differ    func() int

	sources sourceMetrics
}

// NewMetrics returns metrics of the process, of HTTP requests, and of the state.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "oprc_http_request_duration_seconds", Help: "Time to answer an HTTP request.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10},
		}, []string{"route", "method", "code"}),
		up:           gauge("oprc_state_up", "1 if the state could be read for this scrape."),
		writable:     gauge("oprc_state_writable", "1 if Redis took writes at this scrape."),
		packages:     gauge("oprc_packages", "Packages in the catalogue."),
		drift:        gauge("oprc_drift_objects", "Units that a CRM reports otherwise than they were dispatched."),
		deployments:  gauges("oprc_deployments", "Deployments by condition.", "condition"),
		units:        gauges("oprc_units", "Deployment units by environment and condition.", "env", "condition"),
		environments: gauges("oprc_environments", "Environments by name and health; always 1.", "env", "health"),
		crms:         gauges("oprc_crms_alive", "CRMs of an environment that are heard of.", "env"),
		inflight:     gauges("oprc_commands_inflight", "Commands by environment that no report has answered yet.", "env"),
		sources:      newSourceMetrics(),
		git: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oprc_git_requests_total", Help: "Requests to Git servers: a list asks for refs, a fetch for objects.",
		}, []string{"op", "result"}),
		notified: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oprc_notifications_total", Help: "Notifications that were taken, or given up.",
		}, []string{"type", "result"}),
		lag: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "oprc_report_lag_seconds", Help: "How long the oldest report of a batch waited in its stream.",
			Buckets: []float64{.005, .025, .1, .5, 1, 5, 30, 300},
		}, []string{"env"}),
		resent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oprc_commands_resent_total", Help: "Commands that were sent again because no report had answered them.",
		}, []string{"env"}),
		leading:   gauge("oprc_leading", "1 if this daemon is the one that acts."),
		differing: gauge("oprc_daemons_differing", "Other daemons on the same Redis that have another configuration than this one."),
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.duration,
		m.up, m.writable, m.packages, m.drift, m.deployments, m.units, m.environments, m.crms, m.inflight,
		m.git, m.notified, m.lag, m.resent, m.leading, m.differing,
	)
	m.registry.MustRegister(m.sources.collectors()...)
	for _, op := range []string{"list", "fetch"} {
		atZero(m.git, op)
	}
	for _, after := range []string{"wake", "commit"} {
		m.sources.toCommand.WithLabelValues(after)
	}
	return m
}

// atZero makes a counter of results exist before the first of them: the increase from
// nothing to 1 is none to Prometheus, and no alert would see the first failure.
func atZero(c *prometheus.CounterVec, labels ...string) {
	for _, err := range []error{nil, context.Canceled} {
		c.WithLabelValues(append(labels, outcome(err))...)
	}
}

// Expect makes the counters of sources, and of kinds of notifications, exist from the
// start.
func (m *Metrics) Expect(sources, notifications []string) {
	for _, name := range sources {
		m.sources.expect(name)
	}
	for _, kind := range notifications {
		atZero(m.notified, kind)
	}
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

// Reports adds what became of the reports of CRMs. It is called once.
func (m *Metrics) Reports(counts func() ingest.Counts) {
	for result, count := range map[string]func(ingest.Counts) int{
		"folded":    func(c ingest.Counts) int { return c.Folded },
		"stale":     func(c ingest.Counts) int { return c.Stale },
		"refused":   func(c ingest.Counts) int { return c.Refused },
		"buried":    func(c ingest.Counts) int { return c.Buried },
		"heartbeat": func(c ingest.Counts) int { return c.Heartbeats },
	} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "oprc_reports_total", Help: "Reports of CRMs by what became of them.",
			ConstLabels: prometheus.Labels{"result": result},
		}, func() float64 { return float64(count(counts())) }))
	}
}

// GitRequest counts a request to a Git server.
func (m *Metrics) GitRequest(op string, err error) {
	m.git.WithLabelValues(op, outcome(err)).Inc()
}

// Notified counts a notification that was taken, or given up.
func (m *Metrics) Notified(kind string, err error) {
	m.notified.WithLabelValues(kind, outcome(err)).Inc()
}

// Lag observes how long reports of an environment waited.
func (m *Metrics) Lag(env string, d time.Duration) { m.lag.WithLabelValues(env).Observe(d.Seconds()) }

// Resent counts commands that were sent again.
func (m *Metrics) Resent(env string, commands int) {
	m.resent.WithLabelValues(env).Add(float64(commands))
}

// Leading shows whether this daemon is the one that acts.
func (m *Metrics) Leading(leads func() bool) { m.leads = leads }

// Differing shows how many other daemons have another configuration.
func (m *Metrics) Differing(differ func() int) { m.differ = differ }

func outcome(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

func (m *Metrics) measured(route string, next http.Handler) http.Handler {
	return promhttp.InstrumentHandlerDuration(m.duration.MustCurryWith(prometheus.Labels{"route": route}), next)
}

// metricsRole is who may read metrics: everybody, where reading is open.
func (a *api) metricsRole() Role {
	if a.Access.closed() && a.Access.Anonymous == Anybody {
		return Viewer
	}
	return Anybody
}

func (a *api) metrics(w http.ResponseWriter, r *http.Request) error {
	if who := caller(r); who.limited() {
		return refuse(http.StatusForbidden, "metrics are of everything, and %s may see only a part", who.Name)
	}
	m := a.Metrics
	m.mu.Lock()
	defer m.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	m.up.Set(1)
	m.writable.Set(1)
	if a.Ready != nil {
		degraded, err := a.Ready(ctx)
		m.writable.Set(truth(err == nil && degraded == ""))
	}
	if err := m.fill(ctx, a.Control); err != nil {
		m.up.Set(0)
		a.Log.Warn("metrics", "error", err)
	}
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	return nil
}

// fill sets the gauges to what the state says now, or to nothing.
func (m *Metrics) fill(ctx context.Context, c Control) error {
	for _, g := range []*prometheus.GaugeVec{m.deployments, m.units, m.environments, m.crms, m.inflight, m.sources.condition} {
		g.Reset()
	}
	m.drift.Set(0)
	if m.differ != nil {
		m.differing.Set(float64(m.differ()))
	}
	m.leading.Set(0)
	if m.leads != nil && m.leads() {
		m.leading.Set(1)
	}
	in, err := c.Inspect(ctx)
	if err != nil {
		return err
	}
	packages, err := in.Keys(oprc.KindPackage)
	if err != nil {
		return err
	}
	m.packages.Set(float64(len(packages)))
	for condition, n := range in.DeploymentConditions() {
		m.deployments.WithLabelValues(string(condition)).Set(float64(n))
	}
	for is, n := range in.UnitStates() {
		m.countUnits(is, float64(n))
	}
	for _, kind := range []oprc.Kind{oprc.KindEnv, oprc.KindCRM, oprc.KindSource} {
		objects, err := in.Objects(ctx, kind, nil)
		if err != nil {
			return err
		}
		for _, o := range objects {
			m.count(o)
		}
	}
	return m.sources.running(ctx, in)
}

func (m *Metrics) countUnits(is reconcile.UnitState, n float64) {
	if n == 0 {
		return
	}
	m.units.WithLabelValues(is.Env, string(is.Condition)).Add(n)
	if is.Drift {
		m.drift.Add(n)
	}
	if !is.Settled {
		m.inflight.WithLabelValues(is.Env).Add(n)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (m *Metrics) count(o reconcile.Object) {
	switch doc := o.Doc.(type) {
	case *reconcile.EnvironmentView:
		m.environments.WithLabelValues(doc.Name, string(doc.Health)).Set(1)
		m.resent.WithLabelValues(doc.Name) // there from the start
		m.lag.WithLabelValues(doc.Name)
	case *oprc.SourceStatus:
		for _, c := range doc.Conditions {
			m.sources.condition.WithLabelValues(doc.Name, c.Type).Set(truth(c.Status))
		}
		m.sources.condition.WithLabelValues(doc.Name, "Suspended").Set(truth(doc.Suspended != nil))
	case *reconcile.CRMView:
		if doc.Alive {
			m.crms.WithLabelValues(doc.Env).Inc()
		}
	}
}
