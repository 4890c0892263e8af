package rdb

import (
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // see sealStatus
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Live reads everything that a plan compares against. The catalogue is one
// consistent reading of it; each environment is another. What it returns shares
// memory with other readings and must not be changed.
//
// An environment that cannot be read, because one of its keys is damaged or its node of
// a Cluster is away, is shown as it was read last. Where it never was, the error is an
// [oprc.UnreadableError], and the others are returned with it.
func (d *DB) Live(ctx context.Context) (plan.Live, error) {
	c, err := d.readCatalogue(ctx)
	if err != nil {
		return plan.Live{}, err
	}
	live := plan.Live{
		Ledger:       c.ledger,
		Reading:      c.number,
		Version:      c.version,
		Observed:     c.observed,
		Packages:     c.packages,
		Environments: map[string]oprc.EnvironmentState{},
		Deployments:  c.deployments,
		Digests:      c.digests,
		Units:        map[string]map[string]oprc.UnitDigest{},
		Statuses:     map[string]map[string]oprc.Status{},
		Damaged:      maps.Clone(c.damaged),
	}
	states, err := d.readEnvironments(ctx, c.names())
	if err != nil {
		return plan.Live{}, err
	}
	unknown := map[string]error{}
	for name, s := range states {
		live.Reading = max(live.Reading, s.number)
		if s.unreadable != nil && !s.known {
			unknown[name] = s.unreadable
		}
		if len(s.units) > 0 {
			live.Units[name] = s.units
		}
		if len(s.statuses) > 0 {
			live.Statuses[name] = s.statuses
		}
		for id := range s.damaged {
			live.Damaged[object(oprc.KindUnit, id)] = true
		}
		rec, declared := c.environments[name]
		state := s.state(rec)
		if !declared {
			if s.over() && s.unreadable == nil {
				continue
			}
			state.Spec = oprc.Environment{Kind: oprc.KindEnvironment, Name: name}
		}
		if s.unreadable != nil {
			state.Unreadable = s.unreadable.Error()
		}
		live.Environments[name] = state
	}
	if len(unknown) > 0 {
		return live, &oprc.UnreadableError{Causes: unknown}
	}
	return live, nil
}

// An envReading is what the slot of one environment holds.
type envReading struct {
	units    map[string]oprc.UnitDigest
	statuses map[string]oprc.Status
	beats    []oprc.Heartbeat
	now      time.Time       // by the clock that stamped the heartbeats
	known    bool            // it was read, now or before
	number   uint64          // of the reading of units and statuses
	runs     int             // units that are to run
	damaged  map[string]bool // units whose record and digest disagree

	unreadable error // why it could not be read now
}

// over reports whether nothing is left of an environment that nobody declared: its
// CRMs have been silent for long, and no unit is meant to run there.
func (s envReading) over() bool {
	for _, b := range s.beats {
		if s.now.Sub(b.Time) <= forgetCRM {
			return false
		}
	}
	return s.runs == 0
}

// state is what placement sees of the environment.
func (s envReading) state(rec oprc.EnvironmentRecord) oprc.EnvironmentState {
	state := oprc.EnvironmentState{
		EnvironmentRecord: rec,
		Health:            oprc.HealthOf(s.beats, s.now),
		Availability:      rec.Spec.Availability,
		ReportedUnits: lowest(s.beats, s.now, func(b oprc.Heartbeat) *int {
			if b.Capacity == nil {
				return nil
			}
			return b.Capacity.Units
		}),
		Beats:           s.beats,
		RecoveringUntil: oprc.RecoveringUntil(s.beats, s.now),
		Read:            s.now,
	}
	reported := lowest(s.beats, s.now, func(b oprc.Heartbeat) *float64 {
		if b.Availability == 0 {
			return nil
		}
		return &b.Availability
	})
	if reported != nil {
		state.Availability = *reported
	}
	state.Units = s.runs
	return state
}

// lowest is the least that an environment's CRMs report of something, to be on the
// safe side: each speaks for the whole environment. While none is alive it is what they
// said last; nil if they never did.
func lowest[T int | float64](beats []oprc.Heartbeat, now time.Time, of func(oprc.Heartbeat) *T) *T {
	var alive, ever *T
	for _, b := range beats {
		v := of(b)
		if v == nil {
			continue
		}
		if ever == nil || *v < *ever {
			ever = v
		}
		if now.Sub(b.Time) <= oprc.HeartbeatTimeout && (alive == nil || *v < *alive) {
			alive = v
		}
	}
	return cmp.Or(alive, ever)
}

// clock is the time in milliseconds by which the heartbeats of an environment are
// stamped and judged. It is the server's: commands and daemons on machines whose clocks
// differ come to the same decision. Of a Cluster it is the master's that has the
// environment: TIME itself would ask any of them.
//
//	KEYS  1 crms
//	      -> milliseconds
var clock = redis.NewScript(`
local t = redis.call("TIME")
return t[1] * 1000 + math.floor(t[2] / 1000)`)

func clockOf(answer *redis.Cmd) time.Time {
	ms, _ := answer.Int64() // the pipeline that it is of has not failed
	return time.UnixMilli(ms).UTC()
}

// A keptReading is the last reading of an environment's units and statuses, until
// its slot moves.
type keptReading struct {
	envReading
	at envMark
}

// An envMark says whether the units and statuses of an environment moved: by their
// counter or, where something was lost, by how many there are.
type envMark struct {
	moved                    string
	records, units, statuses int64
}

// envAnswers is what is asked of an environment: how it stands, and what moves all the
// time anyway.
type envAnswers struct {
	moved                    *redis.StringCmd
	records, units, statuses *redis.IntCmd
	beats                    *redis.MapStringStringCmd
	now                      *redis.Cmd
}

// failure is why an environment cannot be read, or nil.
func (a envAnswers) failure() error {
	return failed([]redis.Cmder{a.moved, a.records, a.units, a.statuses, a.beats, a.now}, nil)
}

func (a envAnswers) mark() envMark {
	return envMark{a.moved.Val(), a.records.Val(), a.units.Val(), a.statuses.Val()}
}

// readEnvironments reads the slots of environments: all of those that moved. No counter
// shows what somebody alters by hand: for that, slices are looked at now and then.
func (d *DB) readEnvironments(ctx context.Context, names []string) (map[string]envReading, error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	if len(names) == 0 {
		return nil, nil
	}
	got := map[string]envAnswers{}
	_, failure := d.c.Pipelined(bounded, func(p redis.Pipeliner) error {
		for _, e := range names {
			got[e] = envAnswers{
				moved:    p.Get(bounded, d.k.moved(e)),
				records:  p.HLen(bounded, d.k.units(e)),
				units:    p.HLen(bounded, d.k.unitDigests(e)),
				statuses: p.HLen(bounded, d.k.statuses(e)),
				beats:    p.HGetAll(bounded, d.k.crms(e)),
				now:      clock.Eval(bounded, p, []string{d.k.crms(e)}),
			}
		}
		return nil
	})
	unreadable, err := d.unreadable(ctx, names, got)
	if err == nil && len(unreadable) == 0 {
		err = d.wrap(ctx, failure)
	}
	if err != nil {
		return nil, err
	}
	var out map[string]envReading
	err = d.cache.inTurn(func() (err error) {
		out, err = d.keptOrMoved(ctx, names, got, unreadable)
		return err
	})
	return out, err
}

// local reports whether an error that is about one environment says nothing about the
// others: a key of it is damaged, or its node of a Cluster is away.
func (d *DB) local(err error) bool {
	_, cluster := d.c.(*redis.ClusterClient)
	return errors.Is(err, errDamaged) || strings.Contains(err.Error(), "WRONGTYPE") || cluster && errors.Is(err, ErrUnavailable)
}

// unreadable sorts out the environments that alone are in trouble; the error is what stops
// all of them.
func (d *DB) unreadable(ctx context.Context, names []string, got map[string]envAnswers) (map[string]error, error) {
	out := map[string]error{}
	for _, e := range names {
		err := d.wrap(ctx, got[e].failure())
		switch {
		case err == nil:
		case ctx.Err() == nil && d.local(err):
			out[e] = err
		default:
			return nil, err
		}
	}
	return out, nil
}

// keptOrMoved reads the environments that moved since their last reading, and keeps the
// others.
func (d *DB) keptOrMoved(ctx context.Context, names []string, got map[string]envAnswers, unreadable map[string]error) (map[string]envReading, error) {
	audit := d.units.due(time.Now())
	var moved []string
	for _, e := range names {
		if unreadable[e] != nil {
			continue
		}
		kept, ok := d.cache.envs[e]
		stays := ok && kept.at == got[e].mark() && len(kept.damaged) == 0
		if ok && audit {
			altered, err := d.auditUnits(ctx, e, kept.envReading)
			if err != nil && !d.local(err) {
				return nil, err
			}
			stays = stays && !altered
		}
		if !stays || d.units.foundIn(d.k.units(e)) {
			moved = append(moved, e)
		}
	}
	if d.cache.envs == nil {
		d.cache.envs = map[string]keptReading{}
	}
	if err := d.readMoved(ctx, moved, got, audit); err != nil {
		return nil, err
	}
	out := make(map[string]envReading, len(names))
	for e, a := range got {
		kept := d.cache.envs[e]
		if err := unreadable[e]; err != nil {
			kept.unreadable = err
			out[e] = kept.envReading
			continue
		}
		kept.beats, kept.now, kept.known = sortedBeats(a.beats.Val(), clockOf(a.now)), clockOf(a.now), true
		d.cache.envs[e] = kept
		out[e] = kept.envReading
	}
	maps.DeleteFunc(d.cache.envs, func(e string, _ keptReading) bool { _, asked := got[e]; return !asked })
	return out, nil
}

// readMoved reads units and statuses. Their counters were read before: what is written
// meanwhile counts as moved the next time.
func (d *DB) readMoved(ctx context.Context, names []string, before map[string]envAnswers, audit bool) error {
	if len(names) == 0 {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	units, statuses := map[string]*redis.MapStringStringCmd{}, map[string]*redis.MapStringStringCmd{}
	records := map[string]*redis.IntCmd{}
	_, err := d.c.Pipelined(bounded, func(p redis.Pipeliner) error {
		for _, e := range names {
			units[e], statuses[e] = p.HGetAll(bounded, d.k.unitDigests(e)), p.HGetAll(bounded, d.k.statuses(e))
			records[e] = p.HLen(bounded, d.k.units(e))
		}
		return nil
	})
	if err := d.wrap(ctx, err); err != nil {
		return err
	}
	d.cache.readings++
	for _, e := range names {
		s := envReading{
			units: parseUnits(units[e].Val()), statuses: decodeStatuses(statuses[e].Val()),
			number: d.cache.readings, damaged: map[string]bool{},
		}
		_, seen := d.cache.envs[e]
		// Where a slot is moved half-way, only scripts fail: then this time nothing is compared.
		if err := d.sound(ctx, e, &s, records[e].Val(), audit && !seen); err != nil && !d.local(err) {
			delete(d.cache.envs, e)
			return err
		}
		s.refuseStrays(e)
		s.remember()
		if kept, ok := d.cache.envs[e]; ok && s.same(kept.envReading) {
			s = kept.envReading
		}
		d.cache.envs[e] = keptReading{envReading: s, at: before[e].mark()}
	}
	return nil
}

// sound marks the units of which records and digests disagree.
func (d *DB) sound(ctx context.Context, env string, s *envReading, records int64, audit bool) error {
	if records != int64(len(s.units)) {
		if err := d.pairUnits(ctx, env, s); err != nil {
			return err
		}
	}
	if audit {
		if _, err := d.auditUnits(ctx, env, *s); err != nil {
			return err
		}
	}
	d.showFoundUnits(env, s)
	return nil
}

// same reports whether nothing moved from one reading to another.
func (s envReading) same(as envReading) bool {
	return maps.Equal(s.damaged, as.damaged) && maps.Equal(s.units, as.units) &&
		maps.EqualFunc(s.statuses, as.statuses, func(a, b oprc.Status) bool { return reflect.DeepEqual(a, b) })
}

// remember shows a unit whose record was lost as undeployed at the generation that
// a CRM last reported on. Otherwise it would start again at 1, and that CRM would
// take its commands for old ones.
func (s *envReading) remember() {
	for id, st := range s.statuses {
		if st.Generation > s.units[id].Generation {
			s.units[id] = oprc.UnitDigest{Generation: st.Generation}
		}
	}
	for _, u := range s.units {
		if u.Runs() {
			s.runs++
		}
	}
}

func parseUnits(entries map[string]string) map[string]oprc.UnitDigest {
	out := make(map[string]oprc.UnitDigest, len(entries))
	for id, entry := range entries {
		generation, hash, _ := strings.Cut(entry, " ")
		n, _ := strconv.ParseInt(generation, 10, 64) // 0, as if never dispatched, for what nobody wrote
		if hash == "-" {
			hash = ""
		}
		out[id] = oprc.UnitDigest{Generation: n, SpecHash: hash}
	}
	return out
}

// decodeAll decodes what reports made. A value that cannot be read counts as
// never heard: the next report replaces it.
func decodeAll[T any](docs map[string]string) map[string]T {
	out := make(map[string]T, len(docs))
	for key, doc := range docs {
		var v T
		if json.Unmarshal([]byte(doc), &v) == nil {
			out[key] = v
		}
	}
	return out
}

// sealStatus is a status as it is kept: with a checksum, as nothing else says what it
// should be. A CRM reports again on what is not heard any more.
func sealStatus(s oprc.Status) string {
	doc := string(oprc.MustCanonical(s))
	sum := sha1.Sum([]byte(doc)) //nolint:gosec // against accidents, and scripts know no other
	return fmt.Sprintf(`%s,"sum":"%x"}`, doc[:len(doc)-1], sum)
}

const sealLength = len(`,"sum":""}`) + 2*sha1.Size

// decodeStatuses decodes statuses. One that was altered counts as never heard.
func decodeStatuses(docs map[string]string) map[string]oprc.Status {
	sound := make(map[string]string, len(docs))
	for id, doc := range docs {
		body, sum, sealed := strings.Cut(doc[max(0, len(doc)-sealLength):], `,"sum":"`)
		if sealed && body == "" {
			is := sha1.Sum([]byte(doc[:len(doc)-sealLength] + "}")) //nolint:gosec // as above
			if hex.EncodeToString(is[:])+`"}` != sum {
				continue
			}
		}
		sound[id] = doc
	}
	return decodeAll[oprc.Status](sound)
}

// ahead is how far a heartbeat may be ahead of the clock that stamps them all, as
// failovers go. One that is further ahead was altered, and counts as never heard.
const ahead = 24 * time.Hour

func sortedBeats(docs map[string]string, now time.Time) []oprc.Heartbeat {
	var beats []oprc.Heartbeat
	for _, b := range decodeAll[oprc.Heartbeat](docs) {
		if !b.Time.After(now.Add(ahead)) {
			beats = append(beats, b)
		}
	}
	slices.SortFunc(beats, func(a, b oprc.Heartbeat) int { return cmp.Compare(a.CRM, b.CRM) })
	return beats
}
