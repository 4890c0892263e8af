package rdb

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A catalogueCache keeps decoded documents for as long as their digest entries
// stay the same, so that a tick reads digests and only the documents that differ.
// What it hands out is shared and must not be changed.
type catalogueCache struct {
	mu          sync.Mutex
	ledger      string     // the cache ends with it
	whole       *catalogue // the last reading, until its slot moves
	envs        map[string]keptReading
	readings    uint64 // counts what was read anew
	packages    map[string]cached[oprc.PackageRecord]
	deployments map[string]cached[oprc.Deployment]
	audit       audit
}

type cached[T any] struct {
	digest oprc.ObjectDigest
	doc    T
}

// A catalogue is one consistent reading of it.
type catalogue struct {
	documents    map[string]map[string]string // by hash, where the reading took them along
	ledger       string
	format       string
	number       uint64 // of this reading
	version      int64
	observed     map[string]oprc.Observation
	digests      map[string]oprc.ObjectDigest // by object
	damaged      map[string]bool              // objects whose record and digest disagree
	records      map[oprc.Kind]int64          // how many records of each kind there are
	environments map[string]oprc.EnvironmentRecord
	known        []string
	packages     map[string]oprc.PackageRecord
	deployments  map[string]oprc.Deployment
}

// torn is how often a reading may be cut in two by a commit before it takes
// everything in one transaction, which costs more.
const torn = 2

// readCatalogue reads digests in one transaction and then the documents that the
// cache lacks. A document that does not match its digest was written in between:
// then it reads again. One that does not even match inside one transaction is
// taken as it is, under the revision of its digest, so that the next plan can put
// it right.
func (d *DB) readCatalogue(ctx context.Context) (*catalogue, error) {
	d.cache.mu.Lock()
	defer d.cache.mu.Unlock()
	audit, kept := d.cache.audit.due(time.Now()), d.cache.whole
	if kept != nil && !audit {
		switch at, err := d.catalogueMark(ctx); {
		case err != nil:
			return nil, err
		case at == kept.mark():
			return kept, nil
		}
	}
	d.cache.whole = nil
	for attempt := 1; ; attempt++ {
		c, err := d.readDigests(ctx, attempt > torn)
		if err != nil {
			return nil, err
		}
		if c.ledger == "" || c.ledger != d.cache.ledger {
			d.cache.ledger, d.cache.packages, d.cache.deployments, d.cache.envs = c.ledger, nil, nil, nil
		}
		if err := d.findUnpaired(ctx, c); err != nil {
			return nil, err
		}
		whole, err := d.readDocuments(ctx, c)
		if err != nil {
			return nil, err
		}
		if !whole && attempt <= torn {
			continue
		}
		if err := d.restore(ctx, c); err != nil {
			return nil, err
		}
		if err := d.auditCatalogue(ctx, c, audit); err != nil {
			return nil, err
		}
		d.cache.keep(c, kept)
		return c, nil
	}
}

// keep numbers a reading: like the one before if they are the same. Damage has to be looked
// at each time, so that a reading that shows some is not kept.
func (k *catalogueCache) keep(c, before *catalogue) {
	sound := c.ledger != "" && len(c.damaged) == 0
	if sound && before != nil && c.mark() == before.mark() && maps.Equal(c.digests, before.digests) && reflect.DeepEqual(c.observed, before.observed) {
		c.number = before.number
	} else {
		k.readings++
		c.number = k.readings
	}
	if sound {
		k.whole = c
	}
}

// Afresh lets the next reading of live state keep nothing of those before it: somebody
// may have changed records past all scripts.
func (d *DB) Afresh() {
	d.cache.mu.Lock()
	defer d.cache.mu.Unlock()
	d.cache.whole, d.cache.envs = nil, nil
}

// A mark says whether the catalogue's slot moved: by its counter or, where something
// was lost, by how much there is.
type mark struct {
	ledger, format, version  string
	records                  string // by kind
	digests, known, observed int64
}

func (c *catalogue) mark() mark {
	return mark{
		ledger: c.ledger, format: c.format, version: strconv.FormatInt(c.version, 10), records: fmt.Sprint(c.records),
		digests: int64(len(c.digests)), known: int64(len(c.known)), observed: int64(len(c.observed)),
	}
}

// catalogueMark asks how the catalogue's slot stands.
func (d *DB) catalogueMark(ctx context.Context) (mark, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var ledger *redis.SliceCmd
	var version *redis.StringCmd
	var digests, known, observed *redis.IntCmd
	records := map[oprc.Kind]*redis.IntCmd{}
	cmds, err := d.c.TxPipelined(bounded, func(p redis.Pipeliner) error {
		ledger, version = p.HMGet(bounded, d.k.ledger(), "id", "format"), p.Get(bounded, d.k.version())
		digests, known, observed = p.HLen(bounded, d.k.catalogueDigests()), p.SCard(bounded, d.k.known()), p.HLen(bounded, d.k.observed())
		for kind, hash := range d.k.recordHashes() {
			records[kind] = p.HLen(bounded, hash)
		}
		return nil
	})
	if err := d.wrap(ctx, failed(cmds, err)); err != nil {
		return mark{}, err
	}
	id, _ := ledger.Val()[0].(string)
	format, _ := ledger.Val()[1].(string)
	counts := map[oprc.Kind]int64{}
	for kind, n := range records {
		counts[kind] = n.Val()
	}
	return mark{
		ledger: id, format: format, version: cmp.Or(version.Val(), "0"), records: fmt.Sprint(counts),
		digests: digests.Val(), known: known.Val(), observed: observed.Val(),
	}, nil
}

// readDigests reads what is small, and all documents too if it is told to.
func (d *DB) readDigests(ctx context.Context, documents bool) (*catalogue, error) {
	var version *redis.StringCmd
	var ledger *redis.SliceCmd
	var observed, digests, environments, packages, deployments *redis.MapStringStringCmd
	var known *redis.StringSliceCmd
	counts := map[oprc.Kind]*redis.IntCmd{}
	limit := answerTimeout // the first question of a reading: a Redis that hangs shows here
	if documents {
		limit = bulkTimeout
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmds, err := d.c.TxPipelined(bounded, func(p redis.Pipeliner) error {
		ledger, version = p.HMGet(bounded, d.k.ledger(), "id", "format"), p.Get(bounded, d.k.version())
		observed = p.HGetAll(bounded, d.k.observed())
		digests = p.HGetAll(bounded, d.k.catalogueDigests())
		environments = p.HGetAll(bounded, d.k.environments())
		known = p.SMembers(bounded, d.k.known())
		for kind, hash := range d.k.recordHashes() {
			counts[kind] = p.HLen(bounded, hash)
		}
		if documents {
			packages = p.HGetAll(bounded, d.k.packages())
			deployments = p.HGetAll(bounded, d.k.deployments())
		}
		return nil
	})
	if err := d.wrap(ctx, aborted(cmds, err)); err != nil {
		return nil, err
	}
	id, _ := ledger.Val()[0].(string) // "" where it has none
	format, _ := ledger.Val()[1].(string)
	if err := d.knows(format); err != nil {
		return nil, err
	}
	c := &catalogue{
		ledger:       id,
		format:       format,
		observed:     decodeAll[oprc.Observation](observed.Val()),
		digests:      make(map[string]oprc.ObjectDigest, len(digests.Val())),
		environments: map[string]oprc.EnvironmentRecord{},
		known:        known.Val(),
		damaged:      map[string]bool{},
		records:      map[oprc.Kind]int64{},
	}
	for kind, n := range counts {
		c.records[kind] = n.Val()
	}
	c.version, _ = version.Int64() // 0, as before the first commit, for what nobody wrote
	for name, entry := range digests.Val() {
		c.digests[name] = parseDigest(entry)
	}
	if documents {
		c.documents = map[string]map[string]string{d.k.packages(): packages.Val(), d.k.deployments(): deployments.Val()}
	}
	for name, doc := range environments.Val() {
		var rec oprc.EnvironmentRecord
		if json.Unmarshal([]byte(doc), &rec) != nil { // broken by hand: the next plan can put it right
			rec = oprc.EnvironmentRecord{Spec: oprc.Environment{Kind: oprc.KindEnvironment, Name: name}}
			rec.Rev = c.digests[object(oprc.KindEnv, name)].Rev
		}
		if of := object(oprc.KindEnv, name); c.digests[of].Hash != oprc.Digest(rec.Spec) || c.digests[of].Rev != rec.Rev {
			c.damaged[of] = true
		}
		c.environments[name] = rec
	}
	return c, nil
}

// parseDigest reads "rev digest blob"; "-" stands for no blob.
func parseDigest(entry string) oprc.ObjectDigest {
	rev, rest, _ := strings.Cut(entry, " ")
	hash, blob, _ := strings.Cut(rest, " ")
	n, _ := strconv.ParseInt(rev, 10, 64) // 0, as if absent, for what nobody wrote
	if blob == "-" {
		blob = ""
	}
	return oprc.ObjectDigest{Rev: n, Hash: hash, Blob: blob}
}

// readDocuments fills in packages and deployments. whole is false if one of them
// does not match its digest.
func (d *DB) readDocuments(ctx context.Context, c *catalogue) (whole bool, err error) {
	packages, wholePackages, err := fetch(ctx, d, c, oprc.KindPackage, d.k.packages(), d.cache.packages, decodePackage)
	if err != nil {
		return false, err
	}
	deployments, wholeDeployments, err := fetch(ctx, d, c, oprc.KindDeployment, d.k.deployments(), d.cache.deployments, decodeDeployment)
	if err != nil {
		return false, err
	}
	d.cache.packages, d.cache.deployments = packages, deployments
	c.packages, c.deployments = documents(packages), documents(deployments)
	return wholePackages && wholeDeployments, nil
}

func documents[T any](from map[string]cached[T]) map[string]T {
	out := make(map[string]T, len(from))
	for key, c := range from {
		out[key] = c.doc
	}
	return out
}

// What a document is by the side of its digest.
type soundness int

const (
	intact soundness = iota
	altered
	unreadable // or lost
)

func decodePackage(key, doc string, want oprc.ObjectDigest) (oprc.PackageRecord, soundness) {
	var rec oprc.PackageRecord
	err := json.Unmarshal([]byte(doc), &rec)
	rec.Digest = oprc.Digest(rec.Spec) // what the record itself says of it may be wrong, too
	if err != nil || rec.Spec.Name != key {
		return rec, unreadable
	}
	if rec.Rev == want.Rev && rec.Digest == want.Hash {
		return rec, intact
	}
	rec.Rev = max(rec.Rev, want.Rev)
	return rec, altered
}

func decodeDeployment(_, doc string, want oprc.ObjectDigest) (oprc.Deployment, soundness) {
	var dep oprc.Deployment
	switch err := json.Unmarshal([]byte(doc), &dep); {
	case err != nil:
		return dep, unreadable
	case oprc.DigestBytes([]byte(doc)) != want.Hash:
		return dep, altered
	}
	return dep, intact
}

// chunk is how many documents one command carries.
const chunk = 500

// fetch returns the documents of one kind: those of have whose digests still
// hold, and the others from Redis. One that does not match its digest is
// returned under no digest, so that the next reading asks for it again.
func fetch[T any](ctx context.Context, d *DB, c *catalogue, kind oprc.Kind, hash string,
	have map[string]cached[T], decode func(key, doc string, want oprc.ObjectDigest) (T, soundness),
) (map[string]cached[T], bool, error) {
	out := make(map[string]cached[T], len(have))
	var missing []string
	for name, digest := range c.digests {
		key, ok := strings.CutPrefix(name, string(kind)+"/")
		if !ok {
			continue
		}
		if old, ok := have[key]; ok && old.digest == digest {
			out[key] = old
			continue
		}
		missing = append(missing, key)
	}
	slices.Sort(missing)
	docs := c.documents[hash]
	if docs == nil {
		var err error
		if docs, err = d.hashFields(ctx, hash, missing); err != nil {
			return nil, false, err
		}
	}
	whole := true
	for _, key := range missing {
		digest := c.digests[object(kind, key)]
		doc, sound := decode(key, docs[key], digest)
		if sound != intact {
			whole, digest, c.damaged[object(kind, key)] = false, oprc.ObjectDigest{}, true
		}
		if sound != unreadable {
			out[key] = cached[T]{digest, doc}
		}
	}
	return out, whole, nil
}

// hashFields returns the values of fields, without those that are absent.
func (d *DB) hashFields(ctx context.Context, hash string, fields []string) (map[string]string, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	var parts []*redis.SliceCmd
	_, err := d.c.Pipelined(bounded, func(p redis.Pipeliner) error {
		for names := range slices.Chunk(fields, chunk) {
			parts = append(parts, p.HMGet(bounded, hash, names...))
		}
		return nil
	})
	if err := d.wrap(ctx, err); err != nil {
		return nil, err
	}
	out := make(map[string]string, len(fields))
	for i, part := range parts {
		for j, v := range part.Val() {
			if s, ok := v.(string); ok {
				out[fields[i*chunk+j]] = s
			}
		}
	}
	return out, nil
}

// Classes returns the catalogue's classes by key.
func (d *DB) Classes(ctx context.Context) (map[string]oprc.Class, error) {
	return readHash[oprc.Class](ctx, d, d.k.classes())
}

// Functions returns the catalogue's functions by key.
func (d *DB) Functions(ctx context.Context) (map[string]oprc.Function, error) {
	return readHash[oprc.Function](ctx, d, d.k.functions())
}

// ClassesOf returns those classes of the catalogue that have one of the keys.
func (d *DB) ClassesOf(ctx context.Context, keys []string) (map[string]oprc.Class, error) {
	return fieldsOf[oprc.Class](ctx, d, d.k.classes(), keys)
}

// FunctionsOf returns those functions of the catalogue that have one of the keys.
func (d *DB) FunctionsOf(ctx context.Context, keys []string) (map[string]oprc.Function, error) {
	return fieldsOf[oprc.Function](ctx, d, d.k.functions(), keys)
}

// Deployments returns the catalogue's deployments by key.
func (d *DB) Deployments(ctx context.Context) (map[string]oprc.Deployment, error) {
	c, err := d.readCatalogue(ctx)
	if err != nil {
		return nil, err
	}
	return c.deployments, nil
}

// readHash decodes every value of a hash.
func readHash[T any](ctx context.Context, d *DB, hash string) (map[string]T, error) {
	docs, err := d.scanHash(ctx, hash)
	if err != nil {
		return nil, err
	}
	out := make(map[string]T, len(docs))
	for field, doc := range docs {
		var v T
		if err := json.Unmarshal([]byte(doc), &v); err != nil {
			return nil, fmt.Errorf("%s: field %s cannot be read: %w", hash, field, err)
		}
		out[field] = v
	}
	return out, nil
}

// scanHash returns all of a hash. It scans, because one big answer takes several
// times as long as many small ones; a field that changes meanwhile is returned as
// it was or as it is.
func (d *DB) scanHash(ctx context.Context, hash string) (map[string]string, error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	out := map[string]string{}
	for cursor := uint64(0); ; {
		pairs, next, err := d.c.HScan(bounded, hash, cursor, "", chunk).Result()
		if err != nil {
			return nil, d.wrap(ctx, err)
		}
		for pair := range slices.Chunk(pairs, 2) {
			out[pair[0]] = pair[1]
		}
		if cursor = next; cursor == 0 {
			return out, nil
		}
	}
}

// names returns every environment that is declared or known, sorted.
func (c *catalogue) names() []string {
	all := map[string]bool{}
	for _, name := range c.known {
		all[name] = true
	}
	for name := range c.environments {
		all[name] = true
	}
	return slices.Sorted(maps.Keys(all))
}
