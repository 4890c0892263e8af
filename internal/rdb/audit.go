package rdb

import (
	"context"
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
)

// Records are the truth, digests what is compared. Each reading compares how many there
// are; slice by slice it also compares what they say.

// recordHashes are the hashes of records that have a digest each, by kind.
func (k Keys) recordHashes() map[oprc.Kind]string {
	return map[oprc.Kind]string{
		oprc.KindPackage: k.packages(), oprc.KindClass: k.classes(), oprc.KindFunction: k.functions(),
		oprc.KindDeployment: k.deployments(), oprc.KindEnv: k.environments(),
	}
}

// findUnpaired finds records without a digest and digests without a record, where the
// numbers of both differ. A record counts all the same: under revision 0, and a digest
// that matches nothing.
func (d *DB) findUnpaired(ctx context.Context, c *catalogue) error {
	count := map[oprc.Kind]int64{}
	for of := range c.digests {
		kind, _, _ := strings.Cut(of, "/")
		count[oprc.Kind(kind)]++
	}
	for kind, hash := range d.k.recordHashes() {
		if c.records[kind] == count[kind] {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
		keys, err := d.c.HKeys(bounded, hash).Result()
		cancel()
		if err := d.wrap(ctx, err); err != nil {
			return err
		}
		lost := map[string]bool{}
		for of := range c.digests {
			if strings.HasPrefix(of, string(kind)+"/") {
				lost[of] = true
			}
		}
		for _, key := range keys {
			of := object(kind, key)
			if !lost[of] {
				c.digests[of], c.damaged[of] = oprc.ObjectDigest{}, true
			}
			delete(lost, of)
		}
		for of := range lost {
			c.damaged[of] = true
			if kind == oprc.KindClass || kind == oprc.KindFunction {
				delete(c.digests, of) // there is nothing that it is the digest of
			}
		}
	}
	return nil
}

// restore shows packages and environments as their histories have them, where the record
// is lost, or is not what the history says, and the digest is: the next plan writes them
// again. Two of the three that agree are right.
func (d *DB) restore(ctx context.Context, c *catalogue) error {
	for of := range c.damaged {
		kind, name, _ := strings.Cut(of, "/")
		history, recorded := name, ""
		switch oprc.Kind(kind) {
		case oprc.KindPackage:
			recorded = c.packages[name].Digest
		case oprc.KindEnv:
			history = of
			if rec, there := c.environments[name]; there {
				recorded = oprc.Digest(rec.Spec)
			}
		default:
			continue // what packages amount to
		}
		entries, err := d.History(ctx, history, 100)
		if err != nil {
			return err
		}
		digest := c.digests[of]
		for i, h := range oprc.Writes(entries) {
			if i == 0 && h.Digest == recorded {
				break
			}
			if h.Digest == digest.Hash && h.Rev == digest.Rev && c.take(oprc.Kind(kind), name, h) {
				break
			}
		}
	}
	return nil
}

// take shows an object as an entry of its history has it; it returns false where the entry
// has nothing.
func (c *catalogue) take(kind oprc.Kind, name string, h oprc.HistoryEntry) bool {
	var source *oprc.SourceRef
	if from, is := strings.CutPrefix(h.Origin, "git:"); is && h.Commit != "" {
		source = &oprc.SourceRef{Name: from, Commit: h.Commit, Path: h.Path}
	}
	switch {
	case kind == oprc.KindPackage && h.Spec != nil:
		c.packages[name] = oprc.PackageRecord{
			Spec: *h.Spec, Digest: h.Digest, Rev: h.Rev, Origin: h.Origin, Source: source, AppliedAt: h.Time, AppliedBy: h.Actor,
		}
	case kind == oprc.KindEnv && h.Environment != nil:
		c.environments[name] = oprc.EnvironmentRecord{
			Spec: *h.Environment, Rev: h.Rev, Origin: h.Origin, Source: source, AppliedAt: h.Time, AppliedBy: h.Actor,
		}
	default:
		return false
	}
	return true
}

// An audit is how far records were compared with their digests.
type audit struct {
	last    time.Time
	cursors map[string]uint64            // by hash of records
	sums    map[string]map[uint64]string // of slices of the round before, by hash and cursor
	next    map[string]map[uint64]string // of this round
	found   map[string]string            // digest that was wrong, by hash of records and key
}

const (
	auditEvery = 2 * time.Second
	auditSlice = 200 // records of a hash at once
)

// due reports whether it is time for the next slices.
func (a *audit) due(now time.Time) bool {
	if a.cursors == nil {
		a.cursors, a.found = map[string]uint64{}, map[string]string{}
		a.sums, a.next = map[string]map[uint64]string{}, map[string]map[uint64]string{}
	}
	if !a.last.IsZero() && now.Sub(a.last) < auditEvery && !now.Before(a.last) {
		return false
	}
	a.last = now
	return true
}

// compare returns a slice of records with their digests and statuses, unless they are as
// their sum says. An audit that finds nothing new costs next to nothing on the way.
//
//	KEYS  1 records  2 digests  3 statuses; the records again where there are none
//	ARGV  1 cursor  2 how many  3 what comes before a record's key in the digests  4 sum, or ""
//	      -> next cursor, sum, and if that is another: for each record key, record, digest or "", status or ""
var compare = redis.NewScript(`
local slice = redis.call("HSCAN", KEYS[1], ARGV[1], "COUNT", ARGV[2])
local all, sum = {}, ""
for i = 1, #slice[2], 2 do
  local key, record = slice[2][i], slice[2][i + 1]
  local digest = redis.call("HGET", KEYS[2], ARGV[3] .. key) or ""
  local status = KEYS[3] ~= KEYS[1] and redis.call("HGET", KEYS[3], key) or ""
  sum = redis.sha1hex(sum .. key .. " " .. record .. " " .. digest .. " " .. status)
  for _, text in ipairs({key, record, digest, status}) do all[#all + 1] = text end
end
local out = {slice[1], sum}
if sum == ARGV[4] then return out end
for i = 1, #all do out[i + 2] = all[i] end
return out`)

// A look is one record as it is: whether it agrees with its digest.
type look func(key, record, digest, status string) (agrees bool)

// slice looks at the next slice of a hash of records, unless it is as it was.
func (d *DB) slice(ctx context.Context, a *audit, records, digests, statuses, prefix string, at look) error {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	cursor := a.cursors[records]
	answer, err := compare.Run(bounded, d.c, []string{records, digests, statuses}, cursor, auditSlice, prefix, a.sums[records][cursor]).StringSlice()
	if err != nil {
		return d.wrap(ctx, err)
	}
	if a.cursors[records], err = strconv.ParseUint(answer[0], 10, 64); err != nil {
		return fmt.Errorf("%s: %w", records, err)
	}
	if a.next[records] == nil {
		a.next[records] = map[uint64]string{}
	}
	if a.next[records][cursor] = answer[1]; a.cursors[records] == 0 {
		a.sums[records], a.next[records] = a.next[records], nil
	}
	for record := range slices.Chunk(answer[2:], 4) {
		if of := records + " " + record[0]; at(record[0], record[1], record[2], record[3]) {
			delete(a.found, of)
		} else {
			a.found[of] = record[2]
		}
	}
	return nil
}

// auditCatalogue looks at the next slice of each kind. It reports whether the digests
// there are others than those that were read, though no counter says so.
func (d *DB) auditCatalogue(ctx context.Context, c *catalogue) (moved bool, err error) {
	for kind, hash := range d.k.recordHashes() {
		err := d.slice(ctx, &d.cache.audit, hash, d.k.catalogueDigests(), hash, string(kind)+"/", func(key, record, entry, _ string) bool {
			digest := parseDigest(entry)
			moved = moved || digest != c.digests[object(kind, key)]
			return agrees(kind, key, record, digest)
		})
		if err != nil {
			return false, err
		}
	}
	return moved, nil
}

// showFound adds what audits found so far to the damage that c shows.
func (d *DB) showFound(c *catalogue) {
	a := &d.cache.audit
	for of, digest := range a.found {
		hash, key, _ := strings.Cut(of, " ")
		for kind, records := range d.k.recordHashes() {
			if records != hash {
				continue
			}
			if c.digests[object(kind, key)] == parseDigest(digest) {
				c.damaged[object(kind, key)] = true
			} else {
				delete(a.found, of)
			}
		}
	}
}

// agrees reports whether a record of the catalogue is what its digest says.
func agrees(kind oprc.Kind, key, record string, digest oprc.ObjectDigest) bool {
	switch kind {
	case oprc.KindPackage:
		_, sound := decodePackage(key, record, digest)
		return sound == intact
	case oprc.KindEnv:
		var rec oprc.EnvironmentRecord
		return json.Unmarshal([]byte(record), &rec) == nil && rec.Rev == digest.Rev && oprc.Digest(rec.Spec) == digest.Hash
	}
	return oprc.DigestBytes([]byte(record)) == digest.Hash
}

// unitAgrees is agrees for a unit's record.
func unitAgrees(_, record, digest, _ string) bool {
	var rec oprc.UnitRecord
	if json.Unmarshal([]byte(record), &rec) != nil {
		return false
	}
	want := parseUnits(map[string]string{"": digest})[""]
	return want == digestOf(rec) && (rec.Op != oprc.Deploy || oprc.Digest(rec.Unit) == rec.SpecHash)
}

func digestOf(rec oprc.UnitRecord) oprc.UnitDigest {
	d := oprc.UnitDigest{Generation: rec.Generation}
	if rec.Op == oprc.Deploy {
		d.SpecHash = rec.SpecHash
	}
	return d
}

// unitPairs reads at one instant.
//
//	KEYS  1 digests  2 records
//	      -> {fields and values of the digests, fields of the records}
var unitPairs = redis.NewScript(`return {redis.call("HGETALL", KEYS[1]), redis.call("HKEYS", KEYS[2])}`)

// pairUnits reads the units of an environment again of which records and digests differ in
// number, and says which of them are damaged.
func (d *DB) pairUnits(ctx context.Context, env string, s *envReading) error {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	answer, err := unitPairs.Run(bounded, d.c, []string{d.k.unitDigests(env), d.k.units(env)}).Slice()
	if err != nil {
		return d.wrap(ctx, err)
	}
	s.units = parseUnits(pairs(answer[0]))
	var bare []string
	recorded := map[string]bool{}
	for _, id := range texts(answer[1]) {
		recorded[id] = true
		if _, paired := s.units[id]; !paired {
			bare = append(bare, id)
			s.damaged[id] = true
		}
	}
	for id := range s.units {
		if !recorded[id] {
			s.damaged[id] = true
		}
	}
	known, err := d.UnitRecordsOf(ctx, env, bare)
	for id, rec := range known {
		s.units[id] = digestOf(rec)
	}
	return err
}

// auditUnits is auditCatalogue for the units of an environment, and their statuses.
func (d *DB) auditUnits(ctx context.Context, env string, s envReading) (moved bool, err error) {
	err = d.slice(ctx, &d.units, d.k.units(env), d.k.unitDigests(env), d.k.statuses(env), "", func(id, record, digest, status string) bool {
		was := decodeStatuses(map[string]string{"": status})[""]
		moved = moved || s.units[id] != parseUnits(map[string]string{"": digest})[""] || !reflect.DeepEqual(was, s.statuses[id])
		return unitAgrees(id, record, digest, status)
	})
	return moved, err
}

// foundIn reports whether audits found damage in an environment.
func (a *audit) foundIn(units string) bool {
	for of := range a.found {
		if strings.HasPrefix(of, units+" ") {
			return true
		}
	}
	return false
}

// showFoundUnits is showFound for the units of an environment.
func (d *DB) showFoundUnits(env string, s *envReading) {
	for of, digest := range d.units.found {
		hash, id, _ := strings.Cut(of, " ")
		if hash != d.k.units(env) {
			continue
		}
		if s.units[id] == parseUnits(map[string]string{"": digest})[""] {
			s.damaged[id] = true
		} else {
			delete(d.units.found, of)
		}
	}
}

// Damage compares every record with its digest, and lists the objects, "<kind>/<key>", of
// which both disagree or one is lost. Of environments that cannot be read it says nothing.
func (d *DB) Damage(ctx context.Context) ([]string, error) {
	if err := d.auditAll(ctx); err != nil {
		return nil, err
	}
	live, err := d.Live(ctx)
	if _, some := errors.AsType[*oprc.UnreadableError](err); some {
		err = nil // those environments say so themselves
	}
	return slices.Sorted(maps.Keys(live.Damaged)), err
}

func (d *DB) auditAll(ctx context.Context) error {
	d.cache.mu.Lock()
	defer d.cache.mu.Unlock()
	d.cache.audit, d.units = audit{}, audit{}
	d.cache.whole, d.cache.envs = nil, nil
	d.cache.audit.due(time.Now())
	d.units.due(time.Now())
	whole := func(a *audit, records, digests, prefix string, at look) error {
		for first := true; first || a.cursors[records] != 0; first = false {
			if err := d.slice(ctx, a, records, digests, records, prefix, at); err != nil {
				return err
			}
		}
		return nil
	}
	for kind, hash := range d.k.recordHashes() {
		err := whole(&d.cache.audit, hash, d.k.catalogueDigests(), string(kind)+"/", func(key, record, digest, _ string) bool {
			return agrees(kind, key, record, parseDigest(digest))
		})
		if err != nil {
			return err
		}
	}
	names, err := d.knownEnvironments(ctx)
	if err != nil {
		return err
	}
	for _, env := range names {
		if err := whole(&d.units, d.k.units(env), d.k.unitDigests(env), "", unitAgrees); err != nil && !d.local(err) {
			return err
		}
	}
	return nil
}
