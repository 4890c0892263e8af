package rest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// sourceMetrics are of the sources that this daemon looks after while it leads.
type sourceMetrics struct {
	duration  *prometheus.HistogramVec
	revision  *prometheus.GaugeVec
	toRunning prometheus.Histogram
	toCommand *prometheus.HistogramVec
	pruned    *prometheus.CounterVec
	read      *prometheus.CounterVec
	condition *prometheus.GaugeVec

	mu     *sync.Mutex
	seen   map[string]string    // revision by source
	commit map[string]time.Time // when a revision was made that is not RUNNING yet
}

func newSourceMetrics() sourceMetrics {
	return sourceMetrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "oprc_reconcile_duration_seconds", Help: "Time of one look at a source: polling, planning, applying.",
			Buckets: []float64{.005, .025, .1, .25, 1, 5, 30, 120},
		}, []string{"source", "result"}),
		revision: gauges("oprc_source_revision_info", "Revision that a source was seen at last; always 1.", "source", "revision"),
		toRunning: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "oprc_commit_to_running_seconds", Help: "From a commit's time to the report that its last unit runs; seen when metrics are read.",
			Buckets: []float64{1, 2.5, 5, 10, 30, 60, 300, 1800, 7200},
		}),
		toCommand: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "oprc_commit_to_command_seconds",
			Help:    "Until the last command of a commit is in its stream: from the webhook or the request that told of it (after=\"wake\"), or from the commit's time, which counts whole seconds (after=\"commit\").",
			Buckets: []float64{.025, .05, .1, .15, .2, .25, .5, 1, 2.5, 10, 60, 300},
		}, []string{"after"}),
		pruned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oprc_prune_total", Help: "Packages that were deleted because their source no longer has them.",
		}, []string{"source"}),
		read: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oprc_source_files_read_total", Help: "Files of sources that were read because they changed.",
		}, []string{"source"}),
		condition: gauges("oprc_source_condition", "1 if the condition of a source is true, else 0.", "source", "condition"),
		mu:        new(sync.Mutex), seen: map[string]string{}, commit: map[string]time.Time{},
	}
}

func (s *sourceMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{s.duration, s.revision, s.toRunning, s.toCommand, s.pruned, s.read, s.condition}
}

func (s *sourceMetrics) expect(source string) {
	s.pruned.WithLabelValues(source)
	s.read.WithLabelValues(source)
	for _, result := range []string{"unchanged", "error", "applied"} {
		s.duration.WithLabelValues(source, result)
	}
}

// Tick counts one look at a source.
func (m *Metrics) Tick(t loop.Tick) {
	s := &m.sources
	s.mu.Lock()
	defer s.mu.Unlock()
	result := "unchanged"
	switch {
	case t.Err != nil:
		result = "error"
	case t.Applied:
		result = "applied"
	}
	s.duration.WithLabelValues(t.Source, result).Observe(t.Took.Seconds())
	s.read.WithLabelValues(t.Source).Add(float64(t.Read))
	s.applied(t)
	if t.Revision.ID == "" {
		return
	}
	before, known := s.seen[t.Source]
	s.seen[t.Source] = t.Revision.ID
	if before != t.Revision.ID {
		s.revision.DeletePartialMatch(prometheus.Labels{"source": t.Source})
		s.revision.WithLabelValues(t.Source, t.Revision.ID).Set(1)
	}
	// The first revision may be years old: it says nothing about how fast we are.
	if known && before != t.Revision.ID && t.Applied && !t.Revision.When.IsZero() {
		delete(s.commit, before) // outrun
		s.commit[t.Revision.ID] = t.Revision.When
	}
}

// applied counts what a tick changed.
func (s *sourceMetrics) applied(t loop.Tick) {
	pruned := s.pruned.WithLabelValues(t.Source)
	if t.Plan == nil {
		return
	}
	for _, c := range t.Plan.Changes {
		if c.Kind == oprc.KindPackage && slices.Contains(c.Actions, plan.Delete) {
			pruned.Inc()
		}
	}
	moved := s.seen[t.Source] != "" && s.seen[t.Source] != t.Revision.ID
	if sum := t.Plan.Summary.Commands; !moved || sum.Deploy+sum.Undeploy == 0 {
		return
	}
	if !t.Woken.IsZero() {
		s.toCommand.WithLabelValues("wake").Observe(t.At.Sub(t.Woken).Seconds())
	}
	if !t.Revision.When.IsZero() {
		s.toCommand.WithLabelValues("commit").Observe(max(0, t.At.Sub(t.Revision.When).Seconds()))
	}
}

// running observes the revisions all of whose units run.
func (s *sourceMetrics) running(ctx context.Context, in *reconcile.Inspection) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for rev, made := range s.commit {
		got, err := in.Reaches(ctx, rev)
		if err != nil {
			return err
		}
		if !got.All {
			continue
		}
		delete(s.commit, rev)
		if got.Units > 0 {
			s.toRunning.Observe(max(0, got.Last.Sub(made).Seconds()))
		}
	}
	return nil
}
