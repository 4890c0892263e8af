package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/trace"
)

// Reports is where CRMs' reports wait, and where their effect is kept.
type Reports interface {
	// EnvironmentNames lists every environment that is declared or was heard of.
	EnvironmentNames(ctx context.Context) ([]string, error)

	// Reports returns entries that nobody has acknowledged: first those that this
	// consumer or a dead one left, then new ones. It waits up to block.
	Reports(ctx context.Context, env, consumer string, count int, block time.Duration) ([]oprc.ReportEntry, error)

	// UnitDigests names every unit that was dispatched to env; UnitRecordsOf and
	// StatusesOf read some of them, and leave out what is not there.
	UnitDigests(ctx context.Context, env string) (map[string]oprc.UnitDigest, error)
	UnitRecordsOf(ctx context.Context, env string, ids []string) (map[string]oprc.UnitRecord, error)
	StatusesOf(ctx context.Context, env string, ids []string) (map[string]oprc.Status, error)
	// Beats also says what time it is by the clock that stamps heartbeats.
	Beats(ctx context.Context, env string) ([]oprc.Heartbeat, time.Time, error)

	// Fold writes all statuses and runtimes if each stored status is still Old;
	// otherwise it writes nothing and returns the ids of those that were not. A
	// runtime without partitions is deleted. The events are kept with them, so that no
	// lost answer can lose one, and Flush emits them, each at least once.
	Fold(ctx context.Context, env string, writes []StatusWrite, runtimes []oprc.ClassRuntime, events []oprc.Event) ([]string, error)
	Flush(ctx context.Context, env string) error
	Heartbeat(ctx context.Context, env string, beats []oprc.Heartbeat) error

	// Dispatch records units and queues their commands; those that were recorded
	// otherwise are named in an *oprc.ConflictError. Emit appends events. Both are
	// bound to no leadership with the fence 0.
	Dispatch(ctx context.Context, env string, commands []oprc.Command, fence int64) error
	Emit(ctx context.Context, events []oprc.Event, fence int64) error

	Ack(ctx context.Context, env string, ids ...string) error
	// Bury keeps an entry that can never be used, with the reason, and acknowledges it.
	Bury(ctx context.Context, env string, e oprc.ReportEntry, reason string) error
	// Trim drops entries that nobody has pending.
	Trim(ctx context.Context, env string) error
}

// A StatusWrite replaces one status by another.
type StatusWrite struct {
	ID       string
	Old, New oprc.Status
}

// Ingest reads the reports of every environment and folds them into live state.
// Fields are set before Run.
type Ingest struct {
	Reports  Reports
	Consumer string // unique per process
	Now      func() time.Time
	Log      *slog.Logger
	// Changed is called, from any goroutine, when the next plan may differ: the health
	// of an environment changed, or a unit drifted. It must not block.
	Changed func(env string)
	// Lag is told how long a batch's oldest report waited in its stream until its effect
	// was kept, by Redis' clock and ours; it may be nil.
	Lag func(env string, d time.Duration)

	Tracer trace.Tracer // of the spans of reports that answer a command with a traceparent

	mu      sync.Mutex
	counts  Counts
	letters letters
}

// Counts says what became of reports since the start.
type Counts struct {
	Folded, Stale, Refused, Buried, Heartbeats int
}

// Counts returns the counts so far.
func (in *Ingest) Counts() Counts {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.counts
}

const (
	firstBatch     = 16
	mostBatch      = 1000
	batchBytes     = 8 << 20
	readBlock      = time.Second // a blocked read does not hear a cancel
	discoverEvery  = 2 * time.Second
	retryAfter     = time.Second
	trimEveryBatch = 64
)

// Run ingests until ctx ends. Every environment has a reader of its own for as long
// as it is listed, so one that is slow or poisoned does not hold the others up. A failure is logged and
// tried again: nothing is acknowledged before its effect is kept.
func (in *Ingest) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	reading := map[string]reader{}
	for {
		names, err := in.Reports.EnvironmentNames(ctx)
		if err != nil && ctx.Err() == nil {
			in.Log.Warn("list environments", "error", err)
		}
		for _, env := range names {
			if r, runs := reading[env]; runs && r.runs() {
				continue
			}
			listed, end := context.WithCancel(ctx)
			r := reader{end, make(chan struct{})}
			reading[env] = r
			g.Go(func() error {
				defer close(r.ended)
				return in.runEnv(listed, env)
			})
		}
		for env, r := range reading {
			if err == nil && !slices.Contains(names, env) {
				r.end()
				delete(reading, env)
			}
		}
		if !reconcile.Sleep(ctx, discoverEvery) {
			return g.Wait()
		}
	}
}

// A reader reads the reports of one environment.
type reader struct {
	end   context.CancelFunc
	ended chan struct{}
}

func (r reader) runs() bool {
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

// listed reports whether an environment is still there, as far as that can be known. Where
// it is not, its stream is gone for good, and must not be begun again.
func (in *Ingest) listed(ctx context.Context, env string) bool {
	names, err := in.Reports.EnvironmentNames(ctx)
	return err != nil || slices.Contains(names, env)
}

func (in *Ingest) runEnv(ctx context.Context, env string) error {
	count := firstBatch
	for batch := 0; ctx.Err() == nil; batch++ {
		next, err := in.step(ctx, env, count)
		count = next
		if err == nil && batch%trimEveryBatch == 0 {
			err = in.Reports.Trim(ctx, env)
		}
		if err != nil && ctx.Err() == nil {
			if !in.listed(ctx, env) {
				return nil
			}
			in.Log.Warn("ingest", "env", env, "error", err)
			count = max(1, count/4) // huge entries are read one by one
			reconcile.Sleep(ctx, retryAfter)
		}
	}
	return nil
}

// step takes one batch of one environment from the stream into live state. It returns
// how many entries to read next.
func (in *Ingest) step(ctx context.Context, env string, count int) (next int, err error) {
	entries, err := in.Reports.Reports(ctx, env, in.Consumer, count, readBlock)
	if err != nil || len(entries) == 0 {
		return count, err
	}
	b := &batch{env: env, now: in.Now().UTC(), letters: &in.letters}
	for _, e := range entries {
		if e.Err != nil {
			b.bury(e, e.Err.Error())
			continue
		}
		if e.Report.Type == oprc.ReportHeartbeat {
			b.beats = append(b.beats, e)
			continue
		}
		b.statuses = append(b.statuses, e)
	}
	return pace(count, entries), in.carryOut(ctx, b)
}

// pace is how many entries to read after a batch: more where many wait, fewer where
// they are huge. It begins low, so that a process that ran out of memory on a batch
// does not do so again.
func pace(count int, batch []oprc.ReportEntry) int {
	size := 0
	for _, e := range batch {
		for name, value := range e.Raw {
			size += len(name) + len(value)
		}
	}
	switch {
	case size > batchBytes:
		return max(1, count/4)
	case len(batch) == count:
		return min(2*count, mostBatch)
	}
	return count
}

// A batch is what one read of a stream amounts to.
type batch struct {
	env      string
	now      time.Time
	beats    []oprc.ReportEntry
	statuses []oprc.ReportEntry
	buried   []oprc.ReportEntry
	reasons  []string
	events   []oprc.Event
	answers  []trace.Past
	counts   Counts
	drifted  bool
	letters  *letters

	records   int      // of units that the environment has
	strangers []string // units to undeploy that no record knows
}

func (b *batch) bury(e oprc.ReportEntry, reason string) {
	b.buried, b.reasons = append(b.buried, e), append(b.reasons, reason)
	b.counts.Buried++
}

func (in *Ingest) carryOut(ctx context.Context, b *batch) error {
	changed, err := in.heartbeats(ctx, b)
	if err != nil {
		return err
	}
	if err := in.fold(ctx, b); err != nil {
		return err
	}
	for _, a := range b.answers {
		in.Tracer.Record(ctx, a)
	}
	if err := in.Reports.Flush(ctx, b.env); err != nil {
		return fmt.Errorf("emit events: %w", err)
	}
	for i, e := range b.buried {
		if err := in.Reports.Bury(ctx, b.env, e, b.reasons[i]); err != nil {
			return fmt.Errorf("bury %s: %w", e.ID, err)
		}
		in.letters.keep(b.env, e.Report.ID, b.reasons[i], b.now)
	}
	if err := in.dismiss(ctx, b); err != nil {
		return err
	}
	if ids := ids(b.beats, b.statuses); len(ids) > 0 {
		if err := in.Reports.Ack(ctx, b.env, ids...); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
	}
	in.count(b.counts)
	if waited, ok := b.waited(); ok && in.Lag != nil {
		in.Lag(b.env, waited)
	}
	if (changed || b.drifted) && in.Changed != nil {
		in.Changed(b.env)
	}
	return nil
}

// waited is how old the oldest entry of the batch was when it was read.
func (b *batch) waited() (time.Duration, bool) {
	oldest := time.Duration(-1)
	for _, list := range [][]oprc.ReportEntry{b.beats, b.statuses} {
		for _, e := range list {
			if at := oprc.ParseStreamID(e.ID).Time(); !at.IsZero() {
				oldest = max(oldest, b.now.Sub(at))
			}
		}
	}
	return oldest, oldest >= 0
}

func ids(lists ...[]oprc.ReportEntry) []string {
	var out []string
	for _, l := range lists {
		for _, e := range l {
			out = append(out, e.ID)
		}
	}
	return out
}

func (in *Ingest) count(c Counts) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.counts.Folded += c.Folded
	in.counts.Stale += c.Stale
	in.counts.Refused += c.Refused
	in.counts.Buried += c.Buried
	in.counts.Heartbeats += c.Heartbeats
}

// heartbeats keeps the last heartbeat of each CRM, stamped with one clock for all that
// write and read them: those of CRMs, daemons and commands may differ. changed is true
// when the environment's health did.
func (in *Ingest) heartbeats(ctx context.Context, b *batch) (changed bool, err error) {
	known, now, err := in.Reports.Beats(ctx, b.env)
	if err != nil {
		return false, fmt.Errorf("read heartbeats: %w", err)
	}
	byID := map[string]oprc.Heartbeat{}
	for _, k := range known {
		byID[k.CRM] = k
	}
	now = now.UTC()
	before := oprc.HealthOf(known, now)
	fresh := b.signsOfLife(byID, now)
	if len(fresh) == 0 {
		return false, nil
	}
	for id, beat := range fresh {
		was := byID[id]
		beat.Time, beat.Since, beat.Returned = now, was.Since, was.Returned
		if was.Since.IsZero() || b.silent(id, was.Time, now) {
			beat.Since, beat.Returned = now, before == oprc.EnvDown
		}
		fresh[id] = beat
	}
	maps.Copy(byID, fresh)
	b.counts.Heartbeats += len(b.beats)
	changed = oprc.HealthOf(slices.Collect(maps.Values(byID)), now) != before // the loop tells of it
	beats := make([]oprc.Heartbeat, 0, len(fresh))
	for _, id := range slices.Sorted(maps.Keys(fresh)) {
		beats = append(beats, fresh[id])
	}
	if err := in.Reports.Heartbeat(ctx, b.env, beats); err != nil {
		return false, fmt.Errorf("keep heartbeats: %w", err)
	}
	return changed, nil
}

// signsOfLife are the last heartbeat of each CRM in the batch, and the known ones of
// CRMs that only reported on units: who speaks is alive, and its heartbeat may stand
// behind many reports that have to be read first.
func (b *batch) signsOfLife(known map[string]oprc.Heartbeat, now time.Time) map[string]oprc.Heartbeat {
	fresh := map[string]oprc.Heartbeat{}
	for _, e := range b.statuses {
		if was, ok := known[e.Report.CRM]; ok && now.Sub(was.Time) >= oprc.HeartbeatInterval {
			fresh[e.Report.CRM] = was
		}
	}
	for _, e := range b.beats {
		r := e.Report
		fresh[r.CRM] = oprc.Heartbeat{CRM: r.CRM, Availability: r.Availability, Capacity: r.Capacity, Templates: r.Templates}
	}
	return fresh
}

// silent reports whether a CRM fell silent between its last heartbeat and now. What
// waited in the stream while nobody read it was said when it was written, by the same
// clock: that nobody listened is no silence.
func (b *batch) silent(crm string, last, now time.Time) bool {
	var said []time.Time
	for _, list := range [][]oprc.ReportEntry{b.beats, b.statuses} {
		for _, e := range list {
			if at := oprc.ParseStreamID(e.ID).Time(); e.Report.CRM == crm && !at.IsZero() {
				said = append(said, at)
			}
		}
	}
	slices.SortFunc(said, time.Time.Compare)
	if len(said) == 0 {
		return now.Sub(last) > oprc.HeartbeatTimeout
	}
	for _, at := range said {
		if at.Sub(last) > oprc.HeartbeatTimeout {
			return true
		}
		last = at
	}
	return false
}

var errRace = errors.New("statuses changed under us")

// fold folds the batch's status reports, in stream order.
func (in *Ingest) fold(ctx context.Context, b *batch) error {
	if len(b.statuses) == 0 {
		return nil
	}
	digests, err := in.Reports.UnitDigests(ctx, b.env)
	if err != nil {
		return fmt.Errorf("read unit digests: %w", err)
	}
	b.records = len(digests)
	ids := b.classmates(digests)
	// Statuses first: if Redis loses its data between the two, either no record is
	// found or the fold below finds other statuses; a status never outlives its record.
	old, err := in.Reports.StatusesOf(ctx, b.env, ids)
	if err != nil {
		return fmt.Errorf("read statuses: %w", err)
	}
	recs, err := in.Reports.UnitRecordsOf(ctx, b.env, ids)
	if err != nil {
		return fmt.Errorf("read unit records: %w", err)
	}
	now := maps.Clone(old)
	touched := map[string]bool{}
	for _, e := range b.statuses {
		b.foldOne(recs[e.Report.ID], now, e, touched)
	}
	if len(touched) == 0 {
		return nil
	}
	writes := make([]StatusWrite, 0, len(touched))
	for _, id := range slices.Sorted(maps.Keys(touched)) {
		writes = append(writes, StatusWrite{ID: id, Old: old[id], New: now[id]})
	}
	lost, err := in.Reports.Fold(ctx, b.env, writes, b.runtimes(recs, now, touched), b.events)
	switch {
	case err != nil:
		return fmt.Errorf("keep statuses: %w", err)
	case len(lost) > 0: // another daemon folded first: read again, fold again
		return errRace
	}
	return nil
}

// classmates lists the units of every class that the batch reports on: they are
// summed up together.
func (b *batch) classmates(digests map[string]oprc.UnitDigest) []string {
	classes := map[string]bool{}
	for _, e := range b.statuses {
		cls, _, _ := strings.Cut(e.Report.ID, "/")
		classes[cls] = true
	}
	var ids []string
	for id := range digests {
		if cls, _, _ := strings.Cut(id, "/"); classes[cls] {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// answer is the span of a report: from when its command was sent until it was folded.
func (b *batch) answer(rec oprc.UnitRecord, r oprc.Report) trace.Past {
	return trace.Past{
		Name: "report", Parent: r.Traceparent, From: rec.DispatchedAt, To: b.now,
		Attributes: map[string]string{"oprc.unit": r.ID, "oprc.crm": r.CRM, "oprc.condition": string(r.Condition)},
	}
}

// foldOne folds one report into now, or buries it.
func (b *batch) foldOne(rec oprc.UnitRecord, now map[string]oprc.Status, e oprc.ReportEntry, touched map[string]bool) {
	id := e.Report.ID
	was := now[id]
	st, passed, outcome := Fold(rec, was, e)
	switch outcome {
	case Stale:
		b.counts.Stale++
		return
	case Folded:
		b.counts.Folded++
		now[id], touched[id] = st, true
		if e.Report.Traceparent != "" && len(passed) > 0 {
			b.answers = append(b.answers, b.answer(rec, e.Report))
		}
		b.drifted = b.drifted || reconcile.View(rec, st, oprc.Healthy).Drift
		from := cmpCondition(was, st)
		for _, to := range passed {
			b.events = append(b.events, oprc.Event{
				Time: b.now, Type: "condition", Kind: oprc.KindUnit, Key: id, Env: b.env,
				From: string(from), To: string(to), Message: st.ErrorMsg,
			})
			from = to
		}
		return
	case Refused:
		b.counts.Refused++
	}
	reason := describe(outcome, rec, was, e.Report)
	since, buried := b.letters.since(b.env, id, reason)
	if buried && outcome == Unknown {
		b.unknown(e.Report, since)
	}
	if outcome != Refused && (buried || slices.Contains(b.reasons, reason)) {
		return // a CRM says it every 30 s: it is only acknowledged
	}
	b.bury(e, reason)
}

// cmpCondition is the condition that a fold started from.
func cmpCondition(was, is oprc.Status) oprc.Condition {
	if was.Condition == "" || is.Generation > was.Generation {
		return oprc.Pending
	}
	return was.Condition
}

// runtimes sums up every class that a touched unit belongs to.
func (b *batch) runtimes(recs map[string]oprc.UnitRecord, now map[string]oprc.Status, touched map[string]bool) []oprc.ClassRuntime {
	classes := map[string][]reconcile.UnitView{}
	for id := range touched {
		classes[recs[id].Unit.ClsKey] = nil
	}
	for id, rec := range recs {
		if us, ok := classes[rec.Unit.ClsKey]; ok {
			classes[rec.Unit.ClsKey] = append(us, reconcile.View(rec, now[id], oprc.Healthy))
		}
	}
	var out []oprc.ClassRuntime
	for _, cls := range slices.Sorted(maps.Keys(classes)) {
		rt, _ := reconcile.RuntimeOf(cls, b.env, classes[cls], b.now)
		out = append(out, rt) // without partitions: nothing of the class is left here
	}
	return out
}
