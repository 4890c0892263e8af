package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Reader reads what a plan does not need: documents and what runs. What is not there is
// left out.
type Reader interface {
	ClassesOf(ctx context.Context, keys []string) (map[string]oprc.Class, error)
	FunctionsOf(ctx context.Context, keys []string) (map[string]oprc.Function, error)
	UnitRecordsOf(ctx context.Context, env string, ids []string) (map[string]oprc.UnitRecord, error)
	Runtimes(ctx context.Context, env string) ([]oprc.ClassRuntime, error)
	RuntimesOf(ctx context.Context, env string, classes []string) ([]oprc.ClassRuntime, error)
	Sources(ctx context.Context) (map[string]oprc.SourceStatus, error)
}

// Parts reads parts of live state, where that costs less than a reading of everything.
type Parts interface {
	// LiveOf returns what concerns some packages, but no environment's number of units. It
	// returns false where everything has to be read; packages that are not there are left out.
	LiveOf(ctx context.Context, packages []string) (plan.Live, bool, error)
	// CatalogueKeys returns the keys of a kind of the catalogue, sorted.
	CatalogueKeys(ctx context.Context, kind oprc.Kind) ([]string, error)
}

// An Inspector answers what people ask of live state. From one reading to the next it
// keeps an index, and renews what moved; documents are read when they are asked for. It
// may be used concurrently, and must not be copied.
type Inspector struct {
	Ledger interface {
		Live(ctx context.Context) (plan.Live, error)
	}
	Reader Reader
	// Parts are read instead of everything where a few objects are asked for; nil: never.
	Parts Parts

	mu    sync.Mutex
	next  *flight    // the reading that has not begun yet
	turn  sync.Mutex // one reading at a time
	index *index     // of the last reading
	facts facts
}

// A flight is a reading for all who asked before it began.
type flight struct {
	done chan struct{}
	in   *Inspection
	err  error
}

// An Inspection is live state at one moment after it was asked for.
type Inspection struct {
	*index
	live plan.Live
	from *Inspector
}

// Inspect reads live state. However many ask at once, one reading is under way and one
// waits: what a caller gets was read after it asked.
func (i *Inspector) Inspect(ctx context.Context) (*Inspection, error) {
	i.mu.Lock()
	f := i.next
	first := f == nil
	if first {
		f = &flight{done: make(chan struct{})}
		i.next = f
	}
	i.mu.Unlock()
	if !first {
		select {
		case <-f.done:
			return f.in, f.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	i.turn.Lock()
	i.mu.Lock()
	i.next = nil
	i.mu.Unlock()
	defer close(f.done)
	defer i.turn.Unlock()
	live, err := i.Ledger.Live(context.WithoutCancel(ctx)) // others wait for it, too
	if _, some := errors.AsType[*oprc.UnreadableError](err); err != nil && !some {
		f.err = fmt.Errorf("read live state: %w", err)
		return nil, f.err
	}
	i.index = i.index.renewed(live)
	f.in = &Inspection{index: i.index, live: live, from: i}
	return f.in, nil
}

// List returns the objects of one kind, sorted by key. Units that were told to go
// and have gone are left out.
func (i *Inspector) List(ctx context.Context, kind oprc.Kind) ([]Object, error) {
	out, err := i.objects(ctx, kind, nil)
	if err != nil {
		return nil, fmt.Errorf("list %ss: %w", kind, err)
	}
	return out, nil
}

// Find returns one object, or an oprc.ErrNotFound that names it.
func (i *Inspector) Find(ctx context.Context, kind oprc.Kind, key string) (Object, error) {
	found, err := i.objects(ctx, kind, []string{key})
	switch {
	case err != nil:
		return Object{}, fmt.Errorf("read %s %q: %w", kind, key, err)
	case len(found) == 0:
		if o, is := builtin(kind, key); is {
			return o, nil
		}
		return Object{}, fmt.Errorf("%s %q: %w", kind, key, oprc.ErrNotFound)
	}
	return found[0], nil
}

func (i *Inspector) objects(ctx context.Context, kind oprc.Kind, keys []string) ([]Object, error) {
	if kind == oprc.KindSource { // those wait for receipts, and ask often
		return (&Inspection{from: i}).Objects(ctx, kind, keys)
	}
	if in, err := i.part(ctx, kind, keys); in != nil || err != nil {
		if err != nil {
			return nil, err
		}
		return in.Objects(ctx, kind, keys)
	}
	in, err := i.Inspect(ctx)
	if err != nil {
		return nil, err
	}
	return in.Objects(ctx, kind, keys)
}

// First returns the first n objects of a kind, and how many there are.
func (i *Inspector) First(ctx context.Context, kind oprc.Kind, n int) ([]Object, int, error) {
	if i.Parts != nil && n <= fewObjects && (kind == oprc.KindPackage || kind == oprc.KindClass || kind == oprc.KindDeployment) {
		keys, err := i.Parts.CatalogueKeys(ctx, kind)
		if err != nil {
			return nil, 0, fmt.Errorf("list %ss: %w", kind, err)
		}
		if in, err := i.part(ctx, kind, keys[:min(n, len(keys))]); in != nil || err != nil {
			var list []Object
			if err == nil {
				list, err = in.Objects(ctx, kind, keys[:min(n, len(keys))])
			}
			return list, len(keys), err
		}
	}
	list, err := i.List(ctx, kind)
	return list[:min(n, len(list))], len(list), err
}

// fewObjects is how many objects are few enough for a reading of parts.
const fewObjects = 200

// part is an inspection of the packages that objects may belong to; nil where everything
// has to be read.
func (i *Inspector) part(ctx context.Context, kind oprc.Kind, keys []string) (*Inspection, error) {
	if i.Parts == nil || len(keys) == 0 || len(keys) > fewObjects {
		return nil, nil
	}
	var packages []string
	switch kind {
	case oprc.KindPackage:
		packages = keys
	case oprc.KindClass, oprc.KindDeployment, oprc.KindUnit:
		for _, key := range keys {
			for at, c := range classOf(key) {
				if c == '.' { // names may have dots, too
					packages = append(packages, key[:at])
				}
			}
		}
	default:
		return nil, nil
	}
	live, partly, err := i.Parts.LiveOf(ctx, slices.Compact(slices.Sorted(slices.Values(packages))))
	if err != nil {
		return nil, fmt.Errorf("read live state: %w", err)
	}
	if !partly {
		return nil, nil
	}
	var none *index
	return &Inspection{index: none.renewed(live), live: live, from: i}, nil
}

// Objects returns those of a kind that have one of the keys, in the order of keys; nil
// stands for all keys, sorted.
func (in *Inspection) Objects(ctx context.Context, kind oprc.Kind, keys []string) ([]Object, error) {
	if keys == nil && kind != oprc.KindSource && kind != oprc.KindRuntime {
		var err error
		if keys, err = in.Keys(kind); err != nil {
			return nil, err
		}
	}
	docs, err := in.documents(ctx, kind, keys)
	if err != nil {
		return nil, err
	}
	if keys == nil {
		keys = sortedKeys(docs)
	}
	out := make([]Object, 0, len(keys))
	for _, key := range keys {
		if doc, ok := docs[key]; ok {
			out = append(out, Object{Kind: kind, Key: key, Doc: doc})
		}
	}
	return out, nil
}

// documents returns the views of the objects that have one of the keys; of sources and
// runtimes nil stands for all.
func (in *Inspection) documents(ctx context.Context, kind oprc.Kind, keys []string) (map[string]any, error) {
	read := in.from.Reader
	switch kind {
	case oprc.KindEnv:
		return environments(in.live), nil
	case oprc.KindCRM:
		return crms(in.live), nil
	case oprc.KindSource:
		sources, err := read.Sources(ctx)
		return pointers(sources), err
	case oprc.KindRuntime:
		return in.runtimes(ctx, keys)
	case oprc.KindUnit:
		return in.unitViews(ctx, keys)
	case oprc.KindPackage:
		return views(keys, in.packageView), nil
	case oprc.KindDeployment:
		return views(keys, in.deploymentView), nil
	case oprc.KindClass:
		classes, err := read.ClassesOf(ctx, keys)
		return in.classViews(classes), err
	case oprc.KindFunction:
		return in.functionViews(ctx, keys)
	}
	return nil, fmt.Errorf("kind %q: %w", kind, oprc.ErrNotFound)
}

func views[T any](keys []string, view func(key string) (T, bool)) map[string]any {
	out := make(map[string]any, len(keys))
	for _, key := range keys {
		if v, ok := view(key); ok {
			out[key] = v
		}
	}
	return out
}

// unitViews joins the records and statuses of units.
func (in *Inspection) unitViews(ctx context.Context, ids []string) (map[string]any, error) {
	out := make(map[string]any, len(ids))
	for env, some := range in.byEnvironment(ids) {
		recs, err := in.from.Reader.UnitRecordsOf(ctx, env, some)
		if err != nil {
			return nil, err
		}
		for id, rec := range recs {
			if u := View(rec, in.live.Statuses[env][id], in.live.Environments[env].Health); !gone(u) {
				out[id] = &u
			}
		}
	}
	return out, nil
}

// byEnvironment groups the ids of units that are there.
func (in *Inspection) byEnvironment(ids []string) map[string][]string {
	out := map[string][]string{}
	for _, id := range ids {
		env := id[strings.LastIndexByte(id, '@')+1:]
		if _, there := in.live.Units[env][id]; there && in.live.Environments[env].Unreadable == "" {
			out[env] = append(out[env], id)
		}
	}
	return out
}

// runtimes reads what Ingest keeps; while an environment is DOWN so is all in it.
func (in *Inspection) runtimes(ctx context.Context, keys []string) (map[string]any, error) {
	asked := map[string][]string{} // classes by environment
	for _, key := range keys {
		if at := strings.LastIndexByte(key, '@'); at > 0 {
			asked[key[at+1:]] = append(asked[key[at+1:]], key[:at])
		}
	}
	out := map[string]any{}
	for env, st := range in.live.Environments {
		if st.Unreadable != "" {
			continue
		}
		var rts []oprc.ClassRuntime
		var err error
		switch {
		case keys == nil:
			rts, err = in.from.Reader.Runtimes(ctx, env)
		case len(asked[env]) > 0:
			rts, err = in.from.Reader.RuntimesOf(ctx, env, asked[env])
		}
		if err != nil {
			return nil, err
		}
		for _, rt := range rts {
			if st.Health == oprc.EnvDown {
				rt.Status = oprc.RuntimeDown
			}
			out[rt.Key] = &rt
		}
	}
	return out, nil
}

// A Reached says how far a revision got.
type Reached struct {
	Units int       // that were dispatched for it
	All   bool      // of them run
	Last  time.Time // when one of them was heard of last
}

// Reaches reports how far a revision got.
func (in *Inspection) Reaches(ctx context.Context, revision string) (Reached, error) {
	known, err := in.from.facts.read(ctx, in)
	if err != nil {
		return Reached{}, err
	}
	r := Reached{All: true}
	for env, units := range known.envs {
		for id, f := range units.of {
			if f.revision != revision || !f.at.Runs() {
				continue
			}
			st := in.live.Statuses[env][id]
			is := judge(f.at, st, in.live.Environments[env].Health)
			r.Units++
			r.All = r.All && is.settled && is.condition == oprc.Running
			if st.Time.After(r.Last) {
				r.Last = st.Time
			}
		}
	}
	return r, nil
}

// facts are what the index does not say of units, because it is in their records. They
// are read once for each record.
type facts struct {
	mu    sync.Mutex
	known knownFacts
}

// knownFacts are not changed once they are handed out.
type knownFacts struct {
	envs  map[string]envFacts
	users map[string][]string // units that run a function, sorted
}

type envFacts struct {
	units map[string]oprc.UnitDigest // of which of is
	of    map[string]unitFacts
}

type unitFacts struct {
	at        oprc.UnitDigest
	revision  string
	functions []string // shared by the units of a class
}

// read returns the facts of all units that are there.
func (f *facts) read(ctx context.Context, in *Inspection) (knownFacts, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	moved := len(in.live.Units) != len(f.known.envs)
	next, lists := knownFacts{envs: map[string]envFacts{}}, map[string][]string{}
	for env, units := range in.live.Units {
		was := f.known.envs[env]
		if sameMap(was.units, units) || in.live.Environments[env].Unreadable != "" {
			next.envs[env] = was
			continue
		}
		now := envFacts{units: units, of: make(map[string]unitFacts, len(units))}
		var unknown []string
		for id, d := range units {
			if old, ok := was.of[id]; ok && old.at == d && !in.live.Damaged[string(oprc.KindUnit)+"/"+id] {
				now.of[id] = old
			} else {
				unknown = append(unknown, id)
			}
		}
		moved = moved || len(unknown) > 0 || len(was.of) != len(units)
		for some := range slices.Chunk(unknown, factsAtOnce) {
			recs, err := in.from.Reader.UnitRecordsOf(ctx, env, some)
			if err != nil {
				return knownFacts{}, err
			}
			for _, id := range some {
				now.of[id] = factsOf(units[id], recs[id], lists)
			}
		}
		next.envs[env] = now
	}
	if next.users = f.known.users; moved {
		next.users = map[string][]string{}
		for _, units := range next.envs {
			for id, u := range units.of {
				for _, fn := range u.functions {
					next.users[fn] = append(next.users[fn], id)
				}
			}
		}
		for _, ids := range next.users {
			slices.Sort(ids)
		}
	}
	f.known = next
	return next, nil
}

const factsAtOnce = 2000 // records in memory

func factsOf(at oprc.UnitDigest, rec oprc.UnitRecord, lists map[string][]string) unitFacts {
	f := unitFacts{at: at, revision: rec.Revision}
	if rec.Op != oprc.Deploy {
		return f
	}
	for _, fn := range rec.Unit.Functions {
		f.functions = append(f.functions, fn.Key)
	}
	name := strings.Join(f.functions, " ")
	if have, ok := lists[name]; ok {
		f.functions = have
	} else {
		lists[name] = f.functions
	}
	return f
}
