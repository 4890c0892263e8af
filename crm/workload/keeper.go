package workload

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/crm"
)

// An Instance is a workload that runs.
type Instance interface {
	// Name is reported among the unit's replicas.
	Name() string
	// URL is where it listens: scheme, host and port.
	URL() string
	// Wait returns how it ended once it has; or ctx's error if that ends first.
	Wait(ctx context.Context) error
	// Stop asks it to end, ends it by force after grace, and removes what is left.
	Stop(ctx context.Context, grace time.Duration)
}

// A Starter starts a workload and returns at once; or finds it running.
type Starter interface {
	Start(ctx context.Context) (Instance, error)
}

// Patience says how long things may take. Zero means the default.
type Patience struct {
	StartTime time.Duration // in which an instance must answer for the first time; default 2 min
	Probe     time.Duration // between two probes of an instance that runs; default 2 s
	Grace     time.Duration // between the request to stop and the end by force; default 5 s
	Linger    time.Duration // for which an instance that was replaced still answers those who know its address only; default 0
}

// How workloads are watched.
const (
	firstProbe   = 50 * time.Millisecond // between two probes while it starts
	missedProbes = 3                     // in a row; then it is started again
	firstRestart = 500 * time.Millisecond
	lastRestart  = 30 * time.Second
	calm         = time.Minute // an instance that ran so long begins anew with the waits
)

// A keeper keeps one workload running: it starts an instance, probes it, and starts
// another where it ends or falls silent.
type keeper struct {
	Patience
	w       Workload
	digest  string // of what it runs
	starter Starter
	changed func()
	cancel  context.CancelFunc
	done    chan struct{} // closed when it watches no more
	first   chan struct{} // closed when the first instance answered or failed
	up      chan struct{} // closed when an instance has answered

	mu     sync.Mutex
	status crm.FunctionStatus
	name   string // of the instance that answers
	leave  bool   // the instance goes on when the keeper ends
}

// keep starts a keeper; it outlives ctx.
func keep(ctx context.Context, w Workload, digest string, s Starter, p Patience, changed func()) *keeper {
	p.StartTime, p.Probe, p.Grace = cmp.Or(p.StartTime, 2*time.Minute), cmp.Or(p.Probe, 2*time.Second), cmp.Or(p.Grace, 5*time.Second)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	k := &keeper{
		Patience: p, w: w, digest: digest, starter: s, changed: changed, cancel: cancel,
		done: make(chan struct{}), first: make(chan struct{}), up: make(chan struct{}),
		status: crm.FunctionStatus{Condition: crm.Deploying},
	}
	go func() {
		defer close(k.done)
		k.run(ctx)
	}()
	return k
}

// end stops the watch; the instance is stopped, or goes on.
func (k *keeper) end(leave bool) {
	k.mu.Lock()
	k.leave = leave
	k.mu.Unlock()
	k.cancel()
	<-k.done
}

// run starts instances until ctx ends.
func (k *keeper) run(ctx context.Context) {
	for failures := 0; ; {
		began := time.Now()
		err := k.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > calm {
			failures = 0
		}
		failures++
		k.set("", crm.FunctionStatus{Condition: crm.Down, ErrorMsg: err.Error()})
		t := time.NewTimer(min(firstRestart<<min(failures-1, 10), lastRestart))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// once runs one instance until it ends, stops answering, or ctx ends, and says why.
func (k *keeper) once(ctx context.Context) error {
	in, err := k.starter.Start(ctx)
	if err != nil {
		return err
	}
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	ended, silent := make(chan error, 1), make(chan error, 1)
	var both sync.WaitGroup
	both.Go(func() { ended <- in.Wait(watch) })
	both.Go(func() { silent <- k.watch(watch, in) })
	grace := k.Grace
	select {
	case err = <-ended:
		grace = 0
	case err = <-silent:
	}
	cancel()
	both.Wait()
	k.mu.Lock()
	leave := k.leave && ctx.Err() != nil
	k.mu.Unlock()
	if !leave {
		in.Stop(context.WithoutCancel(ctx), grace)
	}
	return err
}

// watch notes RUNNING when the instance answers, and returns when it no longer does,
// never did, or ctx ends.
func (k *keeper) watch(ctx context.Context, in Instance) error {
	began, missed, up := time.Now(), 0, false
	for {
		err := k.w.Probe.Ready(ctx, in.URL())
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			up, missed = true, 0
			k.set(in.Name(), crm.FunctionStatus{Condition: crm.Running, InvocationURL: k.w.InvocationURL(in.URL())})
		case !up && time.Since(began) > k.StartTime:
			return fmt.Errorf("did not answer%s within %s: %w", k.at(), k.StartTime, err)
		case up:
			if missed++; missed == missedProbes {
				return fmt.Errorf("stopped answering%s: %w", k.at(), err)
			}
		}
		every := firstProbe
		if up {
			every = k.Probe
		}
		t := time.NewTimer(every)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

func (k *keeper) at() string {
	if k.w.Probe.Path == "" {
		return ""
	}
	return " at " + k.w.Probe.Path
}

// set notes how the workload is doing.
func (k *keeper) set(name string, st crm.FunctionStatus) {
	k.mu.Lock()
	same := k.status == st && k.name == name
	k.status, k.name = st, name
	once(k.first)
	if st.Condition == crm.Running {
		once(k.up)
	}
	k.mu.Unlock()
	if !same {
		k.changed()
	}
}

// once closes a channel that may be closed. Called with a lock held.
func once(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

func (k *keeper) state() (st crm.FunctionStatus, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status, k.name
}
