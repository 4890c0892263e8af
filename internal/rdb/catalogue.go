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
	server      map[string]string // run ids of the servers that were read from, by address
	connects    int64             // connections that had been made then
	readings    uint64            // counts what was read anew
	packages    map[string]cached[oprc.PackageRecord]
	deployments map[string]cached[oprc.Deployment]
	audit       audit

	failure  error // of the last reading that found Redis unavailable
	failedAt time.Time
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
// everything at one instant, which costs more.
const torn = 2

// readCatalogue reads digests at one instant and then the documents that the
// cache lacks. A document that does not match its digest was written in between:
// then it reads again. One that does not even match at one instant is
// taken as it is, under the revision of its digest, so that the next plan can put
// it right.
//
// What has not moved since the last reading is kept, except when an audit is due.
func (d *DB) readCatalogue(ctx context.Context) (c *catalogue, err error) {
	err = d.cache.inTurn(func() error {
		c, err = d.readMovedCatalogue(ctx)
		return err
	})
	return c, err
}

// inTurn calls read, for one reader at a time. Those that waited for one which found Redis
// unavailable share its failure, so that they do not all wait as long one after the other.
func (k *catalogueCache) inTurn(read func() error) error {
	began := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failedAt.After(began) {
		return k.failure
	}
	err := read()
	if errors.Is(err, ErrUnavailable) {
		k.failure, k.failedAt = err, time.Now()
	}
	return err
}

func (d *DB) readMovedCatalogue(ctx context.Context) (*catalogue, error) {
	if err := d.sameServer(ctx); err != nil {
		return nil, err
	}
	audit, kept := d.cache.audit.due(time.Now()), d.cache.whole
	if kept != nil {
		stays, err := d.stays(ctx, kept, audit)
		if err != nil {
			return nil, err
		}
		if stays {
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
		if audit && kept == nil {
			if _, err := d.auditCatalogue(ctx, c); err != nil {
				return nil, err
			}
		}
		d.showFound(c)
		if err := d.restore(ctx, c); err != nil {
			return nil, err
		}
		d.cache.keep(c, kept)
		return c, nil
	}
}

// stays reports whether the catalogue is as it was read last: by its counter, and where an
// audit is due by the next slices of its records.
func (d *DB) stays(ctx context.Context, kept *catalogue, audit bool) (bool, error) {
	at, err := d.catalogueMark(ctx)
	if err != nil {
		return false, err
	}
	moved := at != kept.mark()
	if audit {
		altered, err := d.auditCatalogue(ctx, kept)
		if err != nil {
			return false, err
		}
		moved = moved || altered
	}
	return !moved && len(d.cache.audit.found) == 0, nil
}

// sameServer lets a reading keep nothing if another Redis, or one that was started again,
// answers: counters mean nothing there. It asks when there are new connections.
func (d *DB) sameServer(ctx context.Context) error {
	connects := d.connects.Load()
	if connects == d.cache.connects {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, cluster := d.c.(*redis.ClusterClient)
	var mu sync.Mutex
	now := maps.Clone(d.cache.server)
	if now == nil {
		now = map[string]string{}
	}
	err := EachMaster(bounded, d.c, func(ctx context.Context, c *redis.Client) error {
		info, err := c.InfoMap(ctx, "server").Result()
		if cluster && err != nil && networkCause(err) != "" {
			return nil // of what lives there nothing can be read
		}
		mu.Lock()
		defer mu.Unlock()
		now[c.Options().Addr] = info["Server"]["run_id"]
		return err
	})
	if err != nil || !maps.Equal(now, d.cache.server) { // who may not ask takes it for another one
		d.cache.whole, d.cache.envs = nil, nil
	}
	if err = d.wrap(ctx, err); errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
		return err
	}
	d.cache.connects, d.cache.server = connects, now
	return nil
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
	d.cache.whole = nil
	for e, kept := range d.cache.envs {
		kept.at.records = -1 // as if it had moved; it is still what one that cannot be read was
		d.cache.envs[e] = kept
	}
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
	keys := []string{d.k.ledger(), d.k.version(), d.k.known(), d.k.catalogueDigests(), d.k.observed()}
	counted := d.k.recordHashes()
	kinds := slices.Sorted(maps.Keys(counted))
	for _, kind := range kinds {
		keys = append(keys, counted[kind])
	}
	answer, err := catalogueReading.Run(bounded, d.c, keys, 0).Slice()
	if err != nil {
		return mark{}, d.wrap(ctx, err)
	}
	m := mark{ledger: text(answer[0]), format: text(answer[1]), version: strconv.FormatInt(parseVersion(text(answer[2])), 10), known: int64(len(texts(answer[3])))}
	m.digests, _ = answer[4].(int64)
	m.observed, _ = answer[5].(int64)
	counts := map[oprc.Kind]int64{}
	for i, kind := range kinds {
		counts[kind], _ = answer[6+i].(int64)
	}
	m.records = fmt.Sprint(counts)
	return m, nil
}

// catalogueReading reads keys of the catalogue as they are at one instant: nothing runs
// between the commands of a script. A transaction would do that too, but a Redis whose
// memory is full queues nothing for one. A script that writes nothing is run by that
// Redis, by one that cannot save, and by a replica. EVAL_RO would say so, and is too new
// for Redis 6.
//
//	KEYS  1 ledger  2 version  3 known environments  4… hashes to read, then hashes to count
//	ARGV  1 how many hashes to read
//	      -> {ledger's id, its format, version, known, fields and values of each hash,
//	         number of fields of each hash to count}
var catalogueReading = redis.NewScript(`
local ledger = redis.call("HMGET", KEYS[1], "id", "format")
local out = {ledger[1] or "", ledger[2] or "", redis.call("GET", KEYS[2]) or "", redis.call("SMEMBERS", KEYS[3])}
for i = 4, #KEYS do
  out[i + 1] = redis.call(i - 3 <= tonumber(ARGV[1]) and "HGETALL" or "HLEN", KEYS[i])
end
return out`)

// readDigests reads what is small, and all documents too if it is told to.
func (d *DB) readDigests(ctx context.Context, documents bool) (*catalogue, error) {
	limit := answerTimeout // the first question of a reading: a Redis that hangs shows here
	keys := []string{d.k.ledger(), d.k.version(), d.k.known(), d.k.observed(), d.k.catalogueDigests(), d.k.environments()}
	if documents {
		limit = bulkTimeout
		keys = append(keys, d.k.packages(), d.k.deployments())
	}
	hashes := len(keys) - 3
	counted := d.k.recordHashes()
	kinds := slices.Sorted(maps.Keys(counted))
	for _, kind := range kinds {
		keys = append(keys, counted[kind])
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, err := catalogueReading.Run(bounded, d.c, keys, hashes).Slice()
	if err != nil {
		return nil, d.wrap(ctx, err)
	}
	if err := d.knows(text(answer[1])); err != nil {
		return nil, err
	}
	digests, environments := pairs(answer[5]), pairs(answer[6])
	c := &catalogue{
		ledger:       text(answer[0]),
		format:       text(answer[1]),
		observed:     decodeAll[oprc.Observation](pairs(answer[4])),
		digests:      make(map[string]oprc.ObjectDigest, len(digests)),
		environments: map[string]oprc.EnvironmentRecord{},
		known:        texts(answer[3]),
		damaged:      map[string]bool{},
		records:      map[oprc.Kind]int64{},
	}
	for i, kind := range kinds {
		c.records[kind], _ = answer[4+hashes+i].(int64)
	}
	c.version = parseVersion(text(answer[2])) // 0, as before the first commit, for what nobody wrote
	for name, entry := range digests {
		c.digests[name] = parseDigest(entry)
	}
	if documents {
		c.documents = map[string]map[string]string{d.k.packages(): pairs(answer[7]), d.k.deployments(): pairs(answer[8])}
	}
	for name, doc := range environments {
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

// texts are the members of a set that a script returned.
func texts(answer any) []string {
	list, _ := answer.([]any)
	out := make([]string, 0, len(list))
	for _, v := range list {
		out = append(out, text(v))
	}
	return out
}

// pairs is a hash that a script returned.
func pairs(answer any) map[string]string {
	list := texts(answer)
	out := make(map[string]string, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		out[list[i]] = list[i+1]
	}
	return out
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
