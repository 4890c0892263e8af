package gitsource

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/oaas-platform/oprc/internal/ignore"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// A Hub is what the sources of one process share, so that they are no more load on a
// server than one: the mirror of each repository, what its refs were when they were
// listed last, and how much each host is asked at once. The zero Hub is ready.
type Hub struct {
	// Observe is told of each request to a server, "list" or "fetch"; it may be nil.
	Observe func(op string, err error)
	// Now tells how old a listing is; without it none is used twice.
	Now func() time.Time

	mu      sync.Mutex
	remotes map[string]*remote // by URL and credentials
	mirrors map[string]string  // directory -> key of the remote that it is of
	hosts   map[string]*host
}

// What one host is asked at most.
const (
	hostAtOnce = 4
	hostRate   = 10 // requests a second
	hostBurst  = 20
)

// A host limits the requests to one server. Repositories that made no progress last time
// have one slot among themselves, so that the others have theirs.
type host struct {
	slots chan struct{}
	slow  chan struct{}
	rate  *rate.Limiter
}

func newHost() *host {
	return &host{
		slots: make(chan struct{}, hostAtOnce), slow: make(chan struct{}, 1), rate: rate.NewLimiter(hostRate, hostBurst),
	}
}

// enter waits for a turn. leave may be called more than once.
func (h *host) enter(ctx context.Context, slow bool) (leave func(), err error) {
	slots := h.slots
	if slow {
		slots = h.slow
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	leave = sync.OnceFunc(func() { <-slots })
	if err := h.rate.Wait(ctx); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// Open checks o; it does not touch the repository. What is wrong is an
// [oprc.ErrInvalid].
func (h *Hub) Open(o Options) (*Source, error) {
	installClient()
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	p, err := newPattern(o.Path)
	if err != nil {
		return nil, fmt.Errorf("git source %s: %w", o.Name, err)
	}
	r, err := h.remote(o)
	if err != nil {
		return nil, fmt.Errorf("git source %s: %w", o.Name, err)
	}
	keys, err := newKeyring(o.Verify)
	if err != nil {
		return nil, fmt.Errorf("git source %s: %w", o.Name, err)
	}
	rules := ignore.Rules{}.With([]byte(strings.Join(o.Ignore, "\n")), nil)
	return &Source{o: o, path: p, remote: r, keys: keys, ignore: rules}, nil
}

// remote returns the remote that sources with the same URL, and the same way in,
// share.
func (h *Hub) remote(o Options) (*remote, error) {
	r, err := newRemote(o)
	if err != nil {
		return nil, err
	}
	key := oprc.Digest([]string{
		o.URL, o.CacheDir, o.Username, o.Password, o.Token, string(o.CABundle), o.Proxy, o.SSHKeyFile, o.SSHPassphrase, fmt.Sprint(o.KnownHosts),
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if known := h.remotes[key]; known != nil {
		return known, nil
	}
	if h.remotes == nil {
		h.remotes, h.mirrors, h.hosts = map[string]*remote{}, map[string]string{}, map[string]*host{}
	}
	if r.local == "" {
		// Another way into the same repository gets a mirror of its own: what one may see
		// is not for the other.
		r.dir = mirrorDir(o, "", r.shown)
		if owner, taken := h.mirrors[r.dir]; taken && owner != key {
			r.dir = mirrorDir(o, o.Name, r.shown)
		}
		h.mirrors[r.dir] = key
		name := hostOf(r.shown)
		if h.hosts[name] == nil {
			h.hosts[name] = newHost()
		}
		r.host, r.observe, r.now = h.hosts[name], h.Observe, h.Now
	}
	h.remotes[key] = r
	return r, nil
}
