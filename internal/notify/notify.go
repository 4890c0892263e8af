// Package notify tells others what became of a commit: forges as a commit status,
// anybody else with a signed webhook.
//
//	stored condition of a source that became another -> Outcome -> queue of each target -> HTTP, until it is taken
package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A State says how a revision is doing.
type State string

// The states.
const (
	Pending State = "pending" // it is being carried out
	Success State = "success"
	Failure State = "failure" // it is refused, or has to wait for somebody
	Error   State = "error"   // something else went wrong; it is tried again
)

// An Outcome is what became of a revision of a source.
type Outcome struct {
	Source   string       `json:"source"`
	Revision string       `json:"revision,omitempty"` // commit; "" while none could be read
	Author   string       `json:"author,omitempty"`
	State    State        `json:"state"`
	Reason   string       `json:"reason,omitempty"` // as in the source's condition Ready
	Message  string       `json:"message"`
	PlanID   string       `json:"planId,omitempty"`
	Summary  plan.Summary `json:"summary"`
	Time     time.Time    `json:"ts"`
}

// Begun is the outcome of a step that has a plan to carry out; ok is false for any other.
func Begun(st loop.Step, now time.Time) (o Outcome, ok bool) {
	p := st.Plan
	if st.Err != nil || st.Result != nil || p == nil || p.Empty() || p.Diagnostics.Err() != nil || len(p.Conflicts) > 0 {
		return Outcome{}, false
	}
	o = outcome(st, now)
	o.State, o.Reason, o.Message = Pending, "Applying", "being carried out"
	return o, true
}

// OutcomeOf is what a source's condition Ready, which became another, says of its
// revision. st is the step that led to it.
func OutcomeOf(st loop.Step, ready oprc.SourceCondition, now time.Time) Outcome {
	o := outcome(st, now)
	o.Revision, o.Reason, o.Message = cmp.Or(o.Revision, ready.Revision), ready.Reason, ready.Message
	switch {
	case ready.Status && st.Result != nil:
		s := o.Summary
		o.State = Success
		o.Message = fmt.Sprintf("%d created, %d updated, %d deleted; %d commands", s.Create, s.Update, s.Delete, s.Commands.Deploy+s.Commands.Undeploy)
	case ready.Status:
		o.State, o.Message = Success, "nothing to change"
	case ready.Reason == "Unreachable":
		o.State, o.Revision = Error, st.Revision.ID // what was read before is none the worse
	case ready.Reason == "ApplyFailed":
		o.State = Error
	default:
		o.State = Failure
	}
	if st.Err != nil {
		o.Message = st.Err.Error()
	}
	return o
}

func outcome(st loop.Step, now time.Time) Outcome {
	o := Outcome{Source: st.Source, Revision: st.Revision.ID, Author: st.Revision.Author, Time: now.UTC()}
	if p := st.Plan; p != nil {
		o.PlanID, o.Summary = p.ID, p.Summary
	}
	return o
}

// same reports whether two outcomes say the same of one revision.
func (o Outcome) same(p Outcome) bool {
	return o.Source == p.Source && o.Revision == p.Revision && o.State == p.State && o.Message == p.Message
}

const (
	queueLength = 100
	giveUpAfter = 30 * time.Minute
	lastWords   = 5 * time.Second // what the end of the process waits for what is queued
)

// A Notifier delivers outcomes to the targets of their sources. Fields are set
// before Run.
type Notifier struct {
	Log *slog.Logger
	// Sent is told of each delivery that was taken, or given up; it may be nil.
	Sent func(kind string, err error)

	targets []*target
}

// A target and what waits for it, oldest first.
type target struct {
	source string
	sender sender
	kind   string

	mu    sync.Mutex
	queue []Outcome
	last  Outcome // taken in last
	ready chan struct{}
}

// Add makes a source's outcomes go to where o says. What is wrong with o is an
// oprc.ErrInvalid. It is called before Run.
func (n *Notifier) Add(source string, o Options) error {
	s, err := o.sender()
	if err != nil {
		return err
	}
	n.targets = append(n.targets, &target{source: source, sender: s, kind: o.Type, ready: make(chan struct{}, 1)})
	return nil
}

// Tell queues an outcome for the targets of its source. It does not block. What
// was said before of the same revision, and still waits, is replaced.
func (n *Notifier) Tell(o Outcome) {
	for _, t := range n.targets {
		if t.source == o.Source {
			t.tell(o)
		}
	}
}

func (t *target) tell(o Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last.same(o) {
		return
	}
	t.last = o
	if n := len(t.queue); n > 0 && t.queue[n-1].Revision == o.Revision {
		t.queue = t.queue[:n-1]
	}
	t.queue = append(t.queue, o)
	if len(t.queue) > queueLength {
		t.queue = t.queue[1:]
	}
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

func (t *target) next() (Outcome, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		return Outcome{}, false
	}
	o := t.queue[0]
	t.queue = t.queue[1:]
	return o, true
}

// Run delivers until ctx ends, and then what waits, for a short while.
func (n *Notifier) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, t := range n.targets {
		g.Go(func() error {
			for {
				select {
				case <-t.ready:
					n.deliver(ctx, t)
				case <-ctx.Done():
					bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
					defer cancel()
					n.deliver(bye, t)
					return nil
				}
			}
		})
	}
	return g.Wait()
}

// deliver sends what is queued, in order, each until it is taken or given up.
func (n *Notifier) deliver(ctx context.Context, t *target) {
	for ctx.Err() == nil {
		o, ok := t.next()
		if !ok {
			return
		}
		_, err := backoff.Retry(ctx, func() (struct{}, error) {
			return struct{}{}, t.sender.send(ctx, o)
		}, backoff.WithMaxElapsedTime(giveUpAfter))
		if err != nil && ctx.Err() != nil {
			t.putBack(o)
			return
		}
		if n.Sent != nil {
			n.Sent(t.kind, err)
		}
		if err != nil {
			n.Log.Warn("notification", "source", t.source, "to", t.kind, "revision", o.Revision, "state", o.State, "error", err)
		}
	}
}

// putBack returns to the queue what the end of a context interrupted, unless there
// is news of the same revision.
func (t *target) putBack(o Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 || t.queue[0].Revision != o.Revision {
		t.queue = append([]Outcome{o}, t.queue...)
	}
}

// A sender makes one attempt. An error is final if it is a backoff.PermanentError.
type sender interface {
	send(ctx context.Context, o Outcome) error
}

// client does not follow redirects: a token is for the host that it was given for.
var client = &http.Client{
	Timeout:       10 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// post sends a request, and says whether to try again.
func post(req *http.Request) error {
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", req.URL.Host, errors.Unwrap(err)) // the rest of a URL may be a secret
	}
	defer func() { _ = res.Body.Close() }()
	failure := fmt.Errorf("%s answers %s", req.URL.Host, res.Status)
	switch {
	case res.StatusCode < 300:
		return nil
	case res.StatusCode == http.StatusTooManyRequests, res.StatusCode == http.StatusServiceUnavailable:
		if after, err := time.ParseDuration(cmp.Or(res.Header.Get("Retry-After"), "x") + "s"); err == nil && after >= time.Second && after <= giveUpAfter {
			return &backoff.RetryAfterError{Duration: after}
		}
		return failure
	case res.StatusCode >= 500:
		return failure
	}
	return backoff.Permanent(failure)
}
