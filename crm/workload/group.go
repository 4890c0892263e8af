package workload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/crm"
)

// A Group is the workloads of one unit, kept running.
type Group struct {
	Patience Patience

	telling sync.Mutex // held while a change is reported, so that the last report is the newest state

	mu        sync.Mutex
	report    crm.Reporter
	told      crm.State // the state that was last returned or reported
	elsewhere map[string]crm.FunctionStatus
	running   map[string]*pair // by function key
	leaving   sync.WaitGroup   // instances that linger
	over      chan struct{}    // closed when nothing shall linger any more
}

// A pair is the workload that a function shall have, and the one that still serves
// until it answers.
type pair struct{ now, before *keeper }

// A Wanted is a workload and what starts it. What runs stays if the digest is the
// same.
type Wanted struct {
	Workload
	Starter Starter
	Digest  string
}

// Replace makes the group what is wanted: workloads of the same digest go on, others
// are started, and what they replace is stopped when they answer. It returns when
// each has answered or failed once, with the state; later changes go to report. If ctx
// ends first, everything is as before.
func (g *Group) Replace(ctx context.Context, wanted []Wanted, elsewhere map[string]crm.FunctionStatus, report crm.Reporter) (crm.State, error) {
	fresh := map[string]*keeper{}
	for _, w := range wanted {
		if p := g.pair(w.Function); p == nil || p.now.digest != w.Digest {
			fresh[w.Function] = keep(ctx, w.Workload, w.Digest, w.Starter, g.Patience, g.changed)
		} else if st, _ := p.now.state(); st.Condition == crm.Deploying {
			fresh[w.Function] = nil // begun before; wait for it
		}
	}
	for key, k := range fresh {
		if k == nil {
			k = g.pair(key).now
		}
		select {
		case <-k.first:
		case <-ctx.Done():
			for _, k := range fresh {
				if k != nil {
					k.end(false)
				}
			}
			return crm.State{}, ctx.Err()
		}
	}
	g.swap(wanted, fresh, elsewhere, report)
	st, _ := g.tell()
	return st, nil
}

// Follow sends later changes to report, and what has changed since the state was told.
func (g *Group) Follow(report crm.Reporter) {
	g.mu.Lock()
	g.report = report
	g.mu.Unlock()
	g.changed()
}

func (g *Group) pair(key string) *pair {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running[key]
}

// swap puts the new workloads in the place of the old.
func (g *Group) swap(wanted []Wanted, fresh map[string]*keeper, elsewhere map[string]crm.FunctionStatus, report crm.Reporter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running == nil {
		g.running, g.over = map[string]*pair{}, make(chan struct{})
	}
	g.report, g.elsewhere = report, elsewhere
	names := map[string]bool{}
	for _, w := range wanted {
		names[w.Function] = true
	}
	for key, p := range g.running {
		if !names[key] {
			g.retire(p.now, nil)
			g.retire(p.before, nil)
			delete(g.running, key)
		}
	}
	for key, k := range fresh {
		if k == nil {
			continue
		}
		old := g.running[key]
		p := &pair{now: k}
		g.running[key] = p
		if old == nil {
			continue
		}
		p.before = old.before
		if st, _ := old.now.state(); st.Condition == crm.Running {
			p.before = old.now
		} else {
			g.retire(old.now, nil)
		}
		if p.before != nil {
			g.retire(p.before, k)
		}
	}
}

// retire stops a workload: at once, or after its successor answered and the time to
// linger has passed. Called with the lock held.
func (g *Group) retire(k, successor *keeper) {
	if k == nil {
		return
	}
	over := g.over
	g.leaving.Go(func() {
		if successor != nil {
			select {
			case <-successor.up:
			case <-successor.done:
				return // it was replaced itself, and who came next waits for this one
			case <-over:
			}
			select {
			case <-over:
			case <-time.After(g.Patience.Linger):
			}
			g.forget(k)
		}
		k.end(false)
	})
}

// forget notes that k serves no more.
func (g *Group) forget(k *keeper) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.running {
		if p.before == k {
			p.before = nil
		}
	}
}

// Remove stops all workloads of the group and waits until they have ended.
func (g *Group) Remove() { g.close(false) }

// Leave ends the watch over the workloads, which go on.
func (g *Group) Leave() { g.close(true) }

func (g *Group) close(leave bool) {
	g.mu.Lock()
	g.report = nil
	running := g.running
	g.running = nil
	if g.over != nil {
		once(g.over)
	}
	g.mu.Unlock()
	for _, p := range running {
		g.leaving.Go(func() { p.now.end(leave) })
		if p.before != nil {
			st, _ := p.now.state()
			g.leaving.Go(func() { p.before.end(leave && st.Condition != crm.Running) })
		}
	}
	g.leaving.Wait()
}

// changed reports the state, if it is not the one that was told last: a workload that
// answers while [Group.Replace] returns has nothing to add to what that returns.
func (g *Group) changed() {
	g.telling.Lock()
	defer g.telling.Unlock()
	g.mu.Lock()
	report := g.report
	g.mu.Unlock()
	if report == nil {
		return
	}
	if st, isNew := g.tell(); isNew {
		report(st)
	}
}

// tell returns the state, and whether it differs from the one that was told before.
func (g *Group) tell() (st crm.State, isNew bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	st = g.state()
	isNew = !reflect.DeepEqual(st, g.told)
	g.told = st
	return st, isNew
}

// state is the unit's: that of the function that is worst off. Called with the lock
// held.
func (g *Group) state() crm.State {
	st := crm.State{Condition: crm.Running, Functions: maps.Clone(g.elsewhere)}
	if st.Functions == nil {
		st.Functions = map[string]crm.FunctionStatus{}
	}
	var complaints []error
	for _, key := range slices.Sorted(maps.Keys(g.running)) {
		f, name := g.running[key].state()
		st.Functions[key] = f
		if name != "" {
			st.Replicas = append(st.Replicas, name)
		}
		switch f.Condition {
		case crm.Down:
			st.Condition = crm.Down
			complaints = append(complaints, fmt.Errorf("%s: %s", key, f.ErrorMsg))
		case crm.Deploying:
			if st.Condition == crm.Running {
				st.Condition = crm.Deploying
			}
		}
	}
	if err := errors.Join(complaints...); err != nil {
		st.ErrorMsg = err.Error()
	}
	return st
}

// state is how the function is doing. While the new workload does not answer, calls
// can go to the one before.
func (p *pair) state() (crm.FunctionStatus, string) {
	st, name := p.now.state()
	if st.Condition == crm.Running || p.before == nil {
		return st, name
	}
	if old, name := p.before.state(); old.Condition == crm.Running {
		st.InvocationURL = old.InvocationURL
		if st.Condition == crm.Down {
			st.ErrorMsg += "; the version before still serves"
		}
		return st, name
	}
	return st, name
}
