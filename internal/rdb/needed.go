package rdb

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// mostParts is how many packages are read one by one at most: of more, everything is.
const mostParts = 500

// LiveFor reads of live state what a plan of a part depends on: the named packages and
// those that depend on them, with their deployments and units, and what all of these refer
// to. The answer is false, and says nothing, where [DB.Live] should be asked: as of
// [DB.LiveOf], and where the index does not say who refers to whom.
//
// Where it is true, everything was read of one version of the catalogue, and the plan comes
// out as it does on Live.
func (d *DB) LiveFor(ctx context.Context, part plan.Part) (plan.Live, bool, error) {
	c, sound, err := d.beginParts(ctx)
	if err != nil || !sound {
		return plan.Live{}, false, err
	}
	if sound, err := d.indexIsOf(ctx, c.version); err != nil || !sound {
		return plan.Live{}, false, err
	}
	n := &needed{d: d, c: c, part: part, planned: map[string]bool{}, read: map[string]bool{}}
	c.packages, c.deployments, c.digests = map[string]oprc.PackageRecord{}, map[string]oprc.Deployment{}, map[string]oprc.ObjectDigest{}
	for _, step := range []func(context.Context) (bool, error){n.plan, n.around, n.place, n.units, n.digests} {
		if sound, err := step(ctx); err != nil || !sound {
			return plan.Live{}, false, err
		}
	}
	return n.live(ctx)
}

// needed is such a reading under way.
type needed struct {
	d       *DB
	c       *catalogue
	part    plan.Part
	planned map[string]bool // named, or dependent on one that is
	read    map[string]bool // looked up, whether they are there or not
	classes []string        // of deployments that are the planned packages', or are to be
	envs    map[string]envReading
}

// plan finds the packages that depend on the named ones.
func (n *needed) plan(ctx context.Context) (sound bool, err error) {
	next := n.part.Names
	for len(next) > 0 {
		var prefixes []string
		for _, name := range next {
			if !indexable(name) {
				return false, nil
			}
			if !n.planned[name] {
				n.planned[name] = true
				prefixes = append(prefixes, "r "+name)
			}
		}
		if len(n.planned) > mostParts {
			return false, nil
		}
		by, err := n.d.related(ctx, prefixes)
		if err != nil {
			return false, err
		}
		next = slices.Concat(slices.Collect(maps.Values(by))...)
	}
	return true, nil
}

// around reads the planned packages, and all that they and their future specs refer to.
func (n *needed) around(ctx context.Context) (sound bool, err error) {
	next := slices.Sorted(maps.Keys(n.planned))
	var keys []string
	for _, spec := range n.part.Specs {
		refs := plan.ReferencesOf(spec)
		next, keys = slices.Concat(next, refs.Reads, refs.Near), append(keys, refs.Deploys...)
	}
	return n.reach(ctx, next, keys)
}

// reach reads packages, those that deploy classes, and all that they refer to.
func (n *needed) reach(ctx context.Context, names, keys []string) (sound bool, err error) {
	asked := map[string]bool{}
	for len(names)+len(keys) > 0 {
		var prefixes []string
		for _, key := range keys {
			if indexable(key) && !asked[key] {
				asked[key] = true
				prefixes = append(prefixes, "d "+key)
			}
		}
		with, err := n.d.related(ctx, prefixes)
		if err != nil {
			return false, err
		}
		names = slices.Concat(names, slices.Concat(slices.Collect(maps.Values(with))...))
		fresh := slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(names))), func(name string) bool { return n.read[name] })
		if len(n.read)+len(fresh) > 8*mostParts {
			return false, nil
		}
		docs, err := n.d.hashFields(ctx, n.d.k.packages(), fresh)
		if err != nil {
			return false, err
		}
		names, keys = nil, nil
		for _, name := range fresh {
			n.read[name] = true
			doc, there := docs[name]
			if !there {
				continue
			}
			rec, is := decodePackage(name, doc, oprc.ObjectDigest{})
			if is == unreadable || plan.Frozen(rec.Spec) {
				return false, nil
			}
			n.c.packages[name] = rec
			refs := plan.ReferencesOf(rec.Spec)
			names, keys = slices.Concat(names, refs.Reads, refs.Near), append(keys, refs.Deploys...)
		}
	}
	return true, nil
}

// place reads the deployments of the planned packages, and of the classes that they deploy.
func (n *needed) place(ctx context.Context) (sound bool, err error) {
	var prefixes []string
	for name := range n.planned {
		prefixes = append(prefixes, "p "+name)
		if rec, there := n.c.packages[name]; there {
			n.classes = append(n.classes, plan.ReferencesOf(rec.Spec).Deploys...)
		}
	}
	for _, spec := range n.part.Specs {
		n.classes = append(n.classes, plan.ReferencesOf(spec).Deploys...)
	}
	recorded, err := n.d.related(ctx, prefixes)
	if err != nil {
		return false, err
	}
	for _, keys := range recorded {
		n.classes = append(n.classes, keys...)
	}
	slices.Sort(n.classes)
	n.classes = slices.Compact(n.classes)
	return n.deployments(ctx, n.classes)
}

// deployments reads some, with the packages that they belong to.
func (n *needed) deployments(ctx context.Context, keys []string) (sound bool, err error) {
	keys = slices.DeleteFunc(slices.Clone(keys), func(key string) bool { _, read := n.c.deployments[key]; return read })
	docs, err := n.d.hashFields(ctx, n.d.k.deployments(), keys)
	if err != nil {
		return false, err
	}
	objects := make([]string, len(keys))
	for i, key := range keys {
		objects[i] = object(oprc.KindDeployment, key)
	}
	entries, err := n.d.hashFields(ctx, n.d.k.catalogueDigests(), objects)
	if err != nil {
		return false, err
	}
	var packages []string
	for _, key := range keys {
		doc, there := docs[key]
		entry, digested := entries[object(oprc.KindDeployment, key)]
		if there != digested {
			return false, nil
		}
		if !there {
			continue
		}
		dep, is := decodeDeployment(key, doc, parseDigest(entry))
		if is != intact {
			return false, nil
		}
		n.c.deployments[key], n.c.digests[object(oprc.KindDeployment, key)] = dep, parseDigest(entry)
		packages = append(packages, dep.Pkg)
	}
	return n.reach(ctx, packages, nil)
}

// units reads the units of the planned packages' classes, of whatever classes have such
// names, and what deploys those.
func (n *needed) units(ctx context.Context) (sound bool, err error) {
	n.envs = map[string]envReading{}
	classes := map[string]bool{}
	for _, env := range n.c.names() {
		s, sound, err := n.d.readUnits(ctx, env, func(ctx context.Context) (map[string]string, error) {
			return n.d.unitsUnder(ctx, env, slices.Sorted(maps.Keys(n.planned)), n.classes)
		})
		if err != nil && n.d.local(err) {
			return false, nil
		}
		if err != nil || !sound {
			return false, err
		}
		n.envs[env] = s
		for id := range s.units {
			cls, _, _ := strings.Cut(id, "/")
			classes[cls] = true
		}
	}
	var owners []string
	for cls := range classes {
		owners = append(owners, plan.OwnersOf(cls)...)
	}
	if sound, err := n.deployments(ctx, slices.Sorted(maps.Keys(classes))); err != nil || !sound {
		return false, err
	}
	return n.reach(ctx, owners, nil)
}

// digests reads those of what was read and of what is to be. One that does not agree with
// its package says that something is altered, or that somebody wrote meanwhile.
func (n *needed) digests(ctx context.Context) (sound bool, err error) {
	objects := map[string]bool{}
	note := func(p oprc.Package) {
		objects[object(oprc.KindPackage, p.Name)] = true
		for _, c := range p.Classes {
			objects[object(oprc.KindClass, oprc.Key(p.Name, c.Name))] = true
		}
		for _, f := range p.Functions {
			objects[object(oprc.KindFunction, oprc.Key(p.Name, f.Name))] = true
		}
	}
	for _, rec := range n.c.packages {
		note(rec.Spec)
	}
	for name := range n.read {
		objects[object(oprc.KindPackage, name)] = true
	}
	for _, spec := range n.part.Specs {
		note(spec)
	}
	entries, err := n.d.hashFields(ctx, n.d.k.catalogueDigests(), slices.Sorted(maps.Keys(objects)))
	if err != nil {
		return false, err
	}
	for of, entry := range entries {
		n.c.digests[of] = parseDigest(entry)
	}
	for name := range n.read {
		rec, there := n.c.packages[name]
		want, digested := n.c.digests[object(oprc.KindPackage, name)]
		if there != digested || there && (rec.Rev != want.Rev || rec.Digest != want.Hash) {
			return false, nil
		}
	}
	return true, nil
}

// live is what was read, if it is all of one version.
func (n *needed) live(ctx context.Context) (plan.Live, bool, error) {
	live := plan.Live{
		Ledger: n.c.ledger, Version: n.c.version, Observed: n.c.observed,
		Packages: n.c.packages, Deployments: n.c.deployments, Digests: n.c.digests,
		Environments: map[string]oprc.EnvironmentState{}, Units: map[string]map[string]oprc.UnitDigest{}, Statuses: map[string]map[string]oprc.Status{},
	}
	for env, s := range n.envs {
		live.Units[env], live.Statuses[env] = s.units, s.statuses
		rec, declared := n.c.environments[env]
		if !declared {
			if s.over() {
				return plan.Live{}, false, nil // unless other packages have units there
			}
			rec.Spec = oprc.Environment{Kind: oprc.KindEnvironment, Name: env}
		}
		live.Environments[env] = s.state(rec)
	}
	var err error
	if live.Rest, err = n.d.rest(ctx, n.c.names(), n.part.Origin, n.c.deployments); err != nil {
		return plan.Live{}, false, err
	}
	version, err := n.d.version(ctx)
	return live, err == nil && version == n.c.version, err
}

// unitsIn looks through a part of an environment's digests for the units of some classes
// and of all classes whose keys begin with the name of a package.
//
//	KEYS  1 digests
//	ARGV  1 cursor  2 how many to look at  3 number of packages  then packages, then classes
//	      -> next cursor, then unit ids with their digests
var unitsIn = redis.NewScript(`
local packages, classes = {}, {}
for i = 4, #ARGV do
  if i < 4 + tonumber(ARGV[3]) then packages[ARGV[i]] = true else classes[ARGV[i]] = true end
end
local function wanted(cls)
  if classes[cls] then return true end
  local at = string.find(cls, ".", 1, true)
  while at do
    if packages[string.sub(cls, 1, at - 1)] then return true end
    at = string.find(cls, ".", at + 1, true)
  end
  return false
end
local slice = redis.call("HSCAN", KEYS[1], ARGV[1], "COUNT", ARGV[2])
local out = {slice[1]}
for i = 1, #slice[2], 2 do
  local id = slice[2][i]
  local cls = string.match(id, "^([^/]*)/")
  if cls and wanted(cls) then
    out[#out + 1] = id
    out[#out + 1] = slice[2][i + 1]
  end
end
return out`)

// unitsUnder returns the digests of units. Redis looks through all of them, a part at a time.
func (d *DB) unitsUnder(ctx context.Context, env string, packages, classes []string) (map[string]string, error) {
	const part = 5000
	out := map[string]string{}
	for cursor := "0"; ; {
		args := []any{cursor, part, len(packages)}
		for _, names := range [][]string{packages, classes} {
			for _, name := range names {
				args = append(args, name)
			}
		}
		answer, err := unitsIn.Run(ctx, d.c, []string{d.k.unitDigests(env)}, args...).StringSlice()
		if err != nil {
			return nil, err
		}
		for pair := range slices.Chunk(answer[1:], 2) {
			out[pair[0]] = pair[1]
		}
		if cursor = answer[0]; cursor == "0" {
			return out, nil
		}
	}
}
