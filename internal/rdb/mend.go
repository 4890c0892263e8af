package rdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Whoever puts a value of another type under a key of the ledger stops every script that
// names it. No part of such a value can be used, so it is set aside under a name beside,
// and the key is as if it had been deleted.

const damagedMark = "damaged"

// typeOf is the type that a key of the ledger has; "" for one that is none of them.
func (k Keys) typeOf(key string) string {
	if rest, ok := strings.CutPrefix(key, k.N+":{catalog}:"); ok {
		switch first, more, _ := strings.Cut(rest, ":"); {
		case rest == "version", first == "kept" && more != "":
			return "string"
		case rest == "known":
			return "set"
		case rest == "refs":
			return "zset"
		case first == "history" && more != "":
			return "stream"
		case slices.Contains([]string{
			"packages", "classes", "functions", "deployments", "digests", "environments", "sources", "held", "requests", "lease",
			"ledger", "observed", "gone", "tokens", "daemons", "index", "turns",
		}, rest):
			return "hash"
		}
		return ""
	}
	switch key {
	case k.events():
		return "stream"
	case k.topic():
		return "string"
	}
	if rest, ok := strings.CutPrefix(key, k.N+":{env:"); ok {
		_, rest, _ = strings.Cut(rest, "}:")
		switch first, more, _ := strings.Cut(rest, ":"); {
		case rest == "fence", rest == "moved":
			return "string"
		case rest == "outbox":
			return "stream"
		case first == "runtime" && more != "",
			slices.Contains([]string{"units", "digests", "status", "crms", "owners", "leases", "processes"}, rest):
			return "hash"
		}
		return ""
	}
	if rest, ok := strings.CutPrefix(key, k.T+".{env:"); ok {
		_, rest, _ = strings.Cut(rest, "}.")
		if slices.Contains([]string{"commands", "reports", "dead"}, rest) {
			return "stream"
		}
	}
	return ""
}

// asideOf is where a key's value is put that cannot be used: in the same slot.
func asideOf(key string) string {
	at := strings.Index(key, "}") + 2
	return key[:at] + damagedMark + key[at-1:at] + key[at:]
}

func isAside(key string) bool {
	_, rest, _ := strings.Cut(key, "}")
	return len(rest) > 1 && strings.HasPrefix(rest[1:], damagedMark+rest[:1])
}

// setAside renames a key if it holds a value of another type.
//
//	KEYS  1 key  2 where its value goes
//	ARGV  1 type that it should have
//	      -> 1 renamed, 0 nothing is wrong
var setAside = redis.NewScript(`
local is = redis.call("TYPE", KEYS[1])["ok"]
if is == "none" or is == ARGV[1] then return 0 end
redis.call("RENAME", KEYS[1], KEYS[2])
return 1`)

// Mend sets aside what holds a value of another type, and returns the keys. It looks at
// those that every ledger has, and at all if some answer since the last time said that
// there is such a key.
func (d *DB) Mend(ctx context.Context) ([]string, error) {
	if wrong, err := d.usualTypes(ctx); err != nil || !wrong && !d.mistyped.Load() {
		return nil, err
	}
	d.mistyped.Store(false)
	misplaced, _, err := d.Strange(ctx)
	var mended []string
	for _, key := range misplaced {
		bounded, cancel := context.WithTimeout(ctx, answerTimeout)
		failed := setAside.Run(bounded, d.c, []string{key, asideOf(key)}, d.k.typeOf(key)).Err()
		cancel()
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", key, failed))
			continue
		}
		mended = append(mended, key)
	}
	if err != nil {
		d.mistyped.Store(true)
	}
	return mended, d.wrap(ctx, err)
}

// usualTypes reports whether a key that every ledger has is of another type.
func (d *DB) usualTypes(ctx context.Context) (wrong bool, err error) {
	k := d.k
	keys := []string{
		k.packages(), k.classes(), k.functions(), k.deployments(), k.catalogueDigests(), k.environments(), k.sources(), k.held(),
		k.requests(), k.lease(), k.events(), k.known(), k.ledger(), k.version(), k.observed(), k.gone(), k.tokens(), k.daemons(), k.topic(),
		k.index(), k.refs(), k.turns(),
	}
	envs, err := d.knownEnvironments(ctx)
	if err != nil && !d.mistyped.Load() {
		return false, err
	}
	for _, e := range envs {
		keys = append(keys, k.units(e), k.unitDigests(e), k.statuses(e), k.crms(e), k.outbox(e), k.fence(e), k.moved(e), k.owners(e), k.leases(e),
			k.processes(e), k.commands(e), k.reports(e), k.dead(e))
	}
	keys = append(keys, d.someRuntimes()...)
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	types := make([]*redis.StatusCmd, len(keys))
	_, err = d.c.Pipelined(bounded, func(p redis.Pipeliner) error {
		for i, key := range keys {
			types[i] = p.Type(bounded, key)
		}
		return nil
	})
	for i, key := range keys {
		is := types[i].Val()
		wrong = wrong || is != "" && is != "none" && is != k.typeOf(key)
	}
	return wrong, d.wrap(ctx, err)
}

// someRuntimes are the next keys of class runtimes to look at.
func (d *DB) someRuntimes() []string {
	d.cache.mu.Lock()
	defer d.cache.mu.Unlock()
	all := map[string]bool{}
	for env, kept := range d.cache.envs {
		for id := range kept.units {
			if cls, _, is := strings.Cut(id, "/"); is {
				all[d.k.runtime(env, cls)] = true
			}
		}
	}
	return d.some(slices.Sorted(maps.Keys(all)), &d.runtimes)
}

// some returns the next of many names, of which so many were looked at.
func (*DB) some(names []string, looked *atomic.Int64) []string {
	const slice = 200
	if len(names) <= slice {
		return names
	}
	first := int(looked.Add(slice)-slice) % len(names)
	return slices.Concat(names[first:], names[:first])[:slice]
}

// Strange looks through all keys for those that hold a value of another type than the
// ledger's, and those under which such values were set aside.
func (d *DB) Strange(ctx context.Context) (misplaced, aside []string, err error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	var mu sync.Mutex
	err = EachMaster(bounded, d.c, func(ctx context.Context, c *redis.Client) error {
		for _, match := range []string{pattern(d.k.N) + ":{*", pattern(d.k.T) + ".{*"} {
			for cursor := uint64(0); ; {
				keys, next, err := c.Scan(ctx, cursor, match, 1000).Result()
				if err != nil {
					return err
				}
				types := make([]*redis.StatusCmd, len(keys))
				_, _ = c.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its own error
					for i, key := range keys {
						types[i] = p.Type(ctx, key)
					}
					return nil
				})
				mu.Lock()
				for i, key := range keys {
					is, err := types[i].Result()
					if elsewhere(err) {
						continue
					}
					if err != nil {
						mu.Unlock()
						return err
					}
					switch want := d.k.typeOf(key); {
					case isAside(key):
						aside = append(aside, key)
					case want != "" && is != want && is != "none":
						misplaced = append(misplaced, key)
					}
				}
				mu.Unlock()
				if cursor = next; cursor == 0 {
					break
				}
			}
		}
		return nil
	})
	slices.Sort(misplaced)
	slices.Sort(aside)
	return misplaced, aside, d.wrap(ctx, err)
}

// elsewhere reports whether err is that of a node of a Cluster about a key that it holds
// while the key's slot is moved.
func elsewhere(err error) bool {
	_, moved := redis.IsMovedError(err)
	_, ask := redis.IsAskError(err)
	return moved || ask || redis.IsTryAgainError(err)
}

// begin begins the history of an object anew, if it is gone and the object is what it was
// read as.
//
//	KEYS  1 digests  2 history
//	ARGV  1 object  2 its digest, "rev digest"  3 entry
//	      -> 1 begun, 0 nothing to do
var begin = redis.NewScript(`
local digest = redis.call("HGET", KEYS[1], ARGV[1]) or ""
if redis.call("XLEN", KEYS[2]) > 0 or string.sub(digest, 1, #ARGV[2]) ~= ARGV[2] then return 0 end
redis.call("XADD", KEYS[2], "*", "entry", ARGV[3])
return 1`)

// BeginHistories looks for the histories of the next objects of live, and begins those that
// are gone with what is recorded. It returns the objects.
func (d *DB) BeginHistories(ctx context.Context, live plan.Live, now time.Time) ([]string, error) {
	entries := map[string]oprc.HistoryEntry{} // by history
	for name, rec := range live.Packages {
		if !live.Damaged[object(oprc.KindPackage, name)] {
			entries[name] = oprc.HistoryEntry{Rev: rec.Rev, Digest: rec.Digest, Origin: rec.Origin, Actor: rec.AppliedBy, Spec: &rec.Spec}
		}
	}
	for name, env := range live.Environments {
		if of := object(oprc.KindEnv, name); env.Rev > 0 && !live.Damaged[of] {
			entries[of] = oprc.HistoryEntry{Rev: env.Rev, Digest: oprc.Digest(env.Spec), Origin: env.Origin, Actor: env.AppliedBy, Environment: &env.Spec}
		}
	}
	gone, err := d.withoutHistory(ctx, d.some(slices.Sorted(maps.Keys(entries)), &d.histories))
	if err != nil {
		return nil, err
	}
	var begun []string
	for _, name := range gone {
		h, of := entries[name], name
		if h.Spec != nil {
			of = object(oprc.KindPackage, name)
		}
		h.Time, h.Action, h.Message = now.UTC(), oprc.ActionRestore, "the history was lost: it begins again with what is recorded"
		bounded, cancel := context.WithTimeout(ctx, answerTimeout)
		done, err := begin.Run(bounded, d.c, []string{d.k.catalogueDigests(), d.k.history(name)}, of, fmt.Sprintf("%d %s", h.Rev, h.Digest), oprc.MustCanonical(h)).Int()
		cancel()
		if err != nil {
			return begun, d.wrap(ctx, err)
		}
		if done == 1 {
			begun = append(begun, of)
		}
	}
	return begun, nil
}

// withoutHistory returns those of names that have no history.
func (d *DB) withoutHistory(ctx context.Context, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	lengths := make([]*redis.IntCmd, len(names))
	_, err := d.c.Pipelined(bounded, func(p redis.Pipeliner) error {
		for i, name := range names {
			lengths[i] = p.XLen(bounded, d.k.history(name))
		}
		return nil
	})
	if err := d.wrap(ctx, err); err != nil {
		return nil, err
	}
	var out []string
	for i, name := range names {
		if lengths[i].Val() == 0 {
			out = append(out, name)
		}
	}
	return out, nil
}
