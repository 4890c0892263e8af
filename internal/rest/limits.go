package rest

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits of what one server does at once, and for whom. Zero fields take the value of
// [DefaultBounds].
type Bounds struct {
	Body     int64         // bytes of a body
	BigBody  int64         // bytes of the body of a plan or apply, for those who may plan
	Plans    int           // requests at once that plan or apply
	Time     time.Duration // for one request, from its headers to its answer
	Rate     float64       // requests a second of one caller; less than zero: any number
	Burst    int           // of one caller
	Watchers int           // at once
}

// DefaultBounds are what a Server keeps to that is told nothing else.
func DefaultBounds() Bounds {
	return Bounds{Body: 1 << 20, BigBody: 64 << 20, Plans: 8, Time: 30 * time.Second, Rate: 500, Burst: 1000, Watchers: 20_000}
}

func (b Bounds) orDefault() Bounds {
	d := DefaultBounds()
	b.Body, b.BigBody = cmp.Or(b.Body, d.Body), cmp.Or(b.BigBody, d.BigBody)
	b.Plans, b.Watchers = cmp.Or(b.Plans, d.Plans), cmp.Or(b.Watchers, d.Watchers)
	b.Time = cmp.Or(b.Time, d.Time)
	b.Rate, b.Burst = cmp.Or(b.Rate, d.Rate), cmp.Or(b.Burst, d.Burst)
	return b
}

// callers counts the requests of each caller. It forgets those that have been quiet.
type callers struct {
	mu sync.Mutex
	by map[string]*rate.Limiter
}

// rememberedCallers is how many callers are counted before those that are quiet are
// forgotten.
const rememberedCallers = 10_000

func (c *callers) allow(name string, b Bounds, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[string]*rate.Limiter{}
	}
	l := c.by[name]
	if l == nil {
		if len(c.by) >= rememberedCallers {
			for name, l := range c.by {
				if l.TokensAt(now) >= float64(b.Burst) {
					delete(c.by, name)
				}
			}
		}
		l = rate.NewLimiter(rate.Limit(b.Rate), b.Burst)
		c.by[name] = l
	}
	return l.AllowN(now, 1)
}

// rate refuses a caller who asks too often. Those who are not known are told apart by
// their address.
func (a *api) rate(who *Identity, r *http.Request) error {
	if a.Bounds.Rate < 0 {
		return nil
	}
	name := who.Method + " " + who.Name
	if !who.Authenticated {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		name = "from " + host
	}
	if !a.callers.allow(name, a.Bounds, a.now()) {
		return refuse(http.StatusTooManyRequests, "more than %g requests a second", a.Bounds.Rate)
	}
	return nil
}

// bounded runs a handler within the time of a request, and, where it reads a body and
// plans, as one of so many at once.
func (a *api) bounded(rt *route, w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), a.Bounds.Time)
	defer cancel()
	ctx, stop := untilClosing(ctx, closingTime)
	defer stop()
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(a.now().Add(a.Bounds.Time)) // not every writer has deadlines
	_ = c.SetWriteDeadline(a.now().Add(a.Bounds.Time + answerTime))
	if rt.plans() {
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		case <-time.After(waitForSlot):
			return refuse(http.StatusTooManyRequests, "%d requests are planning already", a.Bounds.Plans)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return rt.serve(w, r.WithContext(ctx))
}

const (
	answerTime  = 30 * time.Second // for the client to read the answer
	waitForSlot = 5 * time.Second  // for another plan to end
	closingTime = 8 * time.Second  // for a request to end once the server stops
)

// plans reports whether requests of a route cost as much as a plan.
func (rt *route) plans() bool {
	return rt.role.Includes(Planner) && rt.method != http.MethodGet || rt.name == "getSnapshot" || rt.name == "planSource"
}
