package rdb

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// usualPartsFrom is how many packages a ledger has at least of which parts are read: a
// smaller one is compared with its digests by the first reading as a whole.
const usualPartsFrom = 2 * auditSlice

// beginParts reads what every reading of parts begins with. It is false where reading
// everything costs less.
func (d *DB) beginParts(ctx context.Context) (*catalogue, bool, error) {
	d.cache.mu.Lock()
	warm := d.cache.whole != nil
	d.cache.mu.Unlock()
	if warm {
		return nil, false, nil
	}
	c, sound, err := d.readEnvironmentsAlone(ctx)
	if err != nil || !sound || c.records[oprc.KindPackage] < d.partsFrom {
		return nil, false, err
	}
	return c, true, nil
}

// LiveOf reads of live state what some packages have there: their records, deployments and
// digests, and their units with statuses; of environments everything but how many units
// they have. The answer is false, and says nothing, where [DB.Live] should be asked: it
// costs less since it has been asked before, the ledger is small, something is lost or
// altered, or somebody wrote meanwhile.
func (d *DB) LiveOf(ctx context.Context, packages []string) (plan.Live, bool, error) {
	c, sound, err := d.beginParts(ctx)
	if err != nil || !sound {
		return plan.Live{}, false, err
	}
	sound, err = d.readPackages(ctx, c, packages)
	if err != nil || !sound {
		return plan.Live{}, false, err
	}
	live := plan.Live{
		Ledger: c.ledger, Version: c.version, Packages: c.packages, Deployments: c.deployments, Digests: c.digests,
		Environments: map[string]oprc.EnvironmentState{}, Units: map[string]map[string]oprc.UnitDigest{}, Statuses: map[string]map[string]oprc.Status{},
	}
	for _, env := range c.names() {
		s, sound, err := d.readUnits(ctx, env, func(ctx context.Context) (map[string]string, error) { return d.unitsOf(ctx, env, packages) })
		if err != nil && d.local(err) { // everything is read: that shows the others
			return plan.Live{}, false, nil
		}
		if err != nil || !sound {
			return plan.Live{}, false, err
		}
		live.Units[env], live.Statuses[env] = s.units, s.statuses
		rec, declared := c.environments[env]
		if !declared {
			if s.over() {
				return plan.Live{}, false, nil // unless other packages have units there
			}
			rec.Spec = oprc.Environment{Kind: oprc.KindEnvironment, Name: env}
		}
		live.Environments[env] = s.state(rec)
	}
	version, err := d.version(ctx)
	return live, err == nil && version == c.version, err
}

// CatalogueKeys returns the keys of the recorded objects of a kind, sorted.
func (d *DB) CatalogueKeys(ctx context.Context, kind oprc.Kind) ([]string, error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	keys, err := d.c.HKeys(bounded, d.k.recordHashes()[kind]).Result()
	slices.Sort(keys)
	return keys, d.wrap(ctx, err)
}

func (d *DB) version(ctx context.Context) (int64, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	text, err := d.c.Get(bounded, d.k.version()).Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	return parseVersion(text), d.wrap(ctx, err)
}

// readEnvironmentsAlone is a catalogue without packages. paired is false if there are not
// as many records as digests.
func (d *DB) readEnvironmentsAlone(ctx context.Context) (c *catalogue, paired bool, err error) {
	keys := []string{d.k.ledger(), d.k.version(), d.k.known(), d.k.environments(), d.k.observed(), d.k.catalogueDigests()}
	counted := d.k.recordHashes()
	kinds := slices.Sorted(maps.Keys(counted))
	for _, kind := range kinds {
		keys = append(keys, counted[kind])
	}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := catalogueReading.Run(bounded, d.c, keys, 2).Slice()
	if err != nil {
		return nil, false, d.wrap(ctx, err)
	}
	if err := d.knows(text(answer[1])); err != nil {
		return nil, false, err
	}
	c = &catalogue{
		ledger: text(answer[0]), version: parseVersion(text(answer[2])), known: texts(answer[3]),
		environments: decodeAll[oprc.EnvironmentRecord](pairs(answer[4])), records: map[oprc.Kind]int64{},
		observed: decodeAll[oprc.Observation](pairs(answer[5])),
	}
	records, digests := int64(0), answer[6]
	for i, kind := range kinds {
		c.records[kind], _ = answer[7+i].(int64)
		records += c.records[kind]
	}
	return c, c.ledger != "" && records == digests, nil
}

// readPackages reads packages with what they define into a catalogue. sound is false if
// one of their documents is not what its digest says.
func (d *DB) readPackages(ctx context.Context, c *catalogue, names []string) (sound bool, err error) {
	c.packages, c.deployments, c.digests = map[string]oprc.PackageRecord{}, map[string]oprc.Deployment{}, map[string]oprc.ObjectDigest{}
	docs, err := d.hashFields(ctx, d.k.packages(), names)
	if err != nil {
		return false, err
	}
	var objects, deployments []string
	for name, doc := range docs {
		rec, is := decodePackage(name, doc, oprc.ObjectDigest{})
		if is == unreadable {
			return false, nil
		}
		c.packages[name] = rec
		objects = append(objects, object(oprc.KindPackage, name))
		for _, cls := range rec.Spec.Classes {
			key := oprc.Key(name, cls.Name)
			objects = append(objects, object(oprc.KindClass, key), object(oprc.KindDeployment, key))
			deployments = append(deployments, key) // whoever declares it
		}
		for _, fn := range rec.Spec.Functions {
			objects = append(objects, object(oprc.KindFunction, oprc.Key(name, fn.Name)))
		}
		for _, dep := range rec.Spec.Deployments {
			deployments = append(deployments, oprc.Abs(name, dep.Key))
			objects = append(objects, object(oprc.KindDeployment, oprc.Abs(name, dep.Key)))
		}
	}
	entries, err := d.hashFields(ctx, d.k.catalogueDigests(), objects)
	if err != nil {
		return false, err
	}
	for of, entry := range entries {
		c.digests[of] = parseDigest(entry)
	}
	for name, rec := range c.packages {
		if want := c.digests[object(oprc.KindPackage, name)]; rec.Rev != want.Rev || rec.Digest != want.Hash {
			return false, nil
		}
	}
	if docs, err = d.hashFields(ctx, d.k.deployments(), deployments); err != nil {
		return false, err
	}
	for key, doc := range docs {
		dep, is := decodeDeployment(key, doc, c.digests[object(oprc.KindDeployment, key)])
		_, declared := c.packages[dep.Pkg]
		if is != intact || !declared || !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(key, name+".") }) {
			return false, nil // one package's deployment of another one's class needs both
		}
		c.deployments[key] = dep
	}
	return true, nil
}

// readUnits reads an environment with those of its units that digests returns. sound is false if there
// are not as many records as digests, or statuses of units that are not there.
func (d *DB) readUnits(ctx context.Context, env string, digests func(context.Context) (map[string]string, error)) (s envReading, sound bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	var records, paired, statuses *redis.IntCmd
	var beats *redis.MapStringStringCmd
	var now *redis.Cmd
	cmds, err := d.c.Pipelined(bounded, func(p redis.Pipeliner) error {
		records, paired, statuses = p.HLen(bounded, d.k.units(env)), p.HLen(bounded, d.k.unitDigests(env)), p.HLen(bounded, d.k.statuses(env))
		beats, now = p.HGetAll(bounded, d.k.crms(env)), clock.Eval(bounded, p, []string{d.k.crms(env)})
		return nil
	})
	if err := d.wrap(ctx, failed(cmds, err)); err != nil {
		return s, false, err
	}
	if records.Val() != paired.Val() || statuses.Val() > paired.Val() {
		return s, false, nil
	}
	s.now = clockOf(now)
	s.beats = sortedBeats(beats.Val(), s.now)
	entries, err := digests(bounded)
	if err != nil {
		return s, false, d.wrap(ctx, err)
	}
	s.units = parseUnits(entries)
	for id := range s.units {
		if isStray(env, id) {
			return s, false, nil
		}
	}
	docs, err := d.hashFields(ctx, d.k.statuses(env), slices.Sorted(maps.Keys(entries)))
	s.statuses = decodeStatuses(docs)
	s.remember()
	return s, true, err
}

// unitsOf returns the digests of the units of some packages. Redis looks through all of
// them, a part at a time, and sends those of one package alone.
func (d *DB) unitsOf(ctx context.Context, env string, packages []string) (map[string]string, error) {
	const part = 2000
	match := ""
	if len(packages) == 1 {
		match = pattern(packages[0]) + ".*"
	}
	out := map[string]string{}
	for cursor := uint64(0); ; {
		pairs, next, err := d.c.HScan(ctx, d.k.unitDigests(env), cursor, match, part).Result()
		if err != nil {
			return nil, err
		}
		for pair := range slices.Chunk(pairs, 2) {
			if slices.ContainsFunc(packages, func(name string) bool {
				rest, is := strings.CutPrefix(pair[0], name)
				return is && strings.HasPrefix(rest, ".")
			}) {
				out[pair[0]] = pair[1]
			}
		}
		if cursor = next; cursor == 0 {
			return out, nil
		}
	}
}
