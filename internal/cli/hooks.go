package cli

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rest"
)

// hooks makes the webhooks of the configuration wake their sources: at once where
// this daemon leads, through the state where another one does.
func (d *daemon) hooks(ctx context.Context, e *env, db *rdb.DB, sources []SourceConfig, log *slog.Logger) error {
	d.server.Hooks = map[string]rest.Hook{}
	for _, sc := range sources {
		secret, err := e.secret("webhookSecretEnv", sc.WebhookSecretEnv)
		old, err2 := e.secret("webhookOldSecretEnv", sc.WebhookOldSecretEnv)
		if err := cmp.Or(err, err2); err != nil {
			return fmt.Errorf("source %s: %w", sc.Name, err)
		}
		var secrets []string
		for _, s := range []string{secret, old} {
			if s != "" {
				secrets = append(secrets, s)
			}
		}
		b := burst{wake: func() error {
			if d.loop.Leading() {
				d.loop.Wake(sc.Name)
				return nil
			}
			_, err := db.AskTick(ctx, sc.Name)
			return err
		}, failed: func(err error) { log.Warn("webhook", "source", sc.Name, "error", err) }}
		d.server.Hooks[sc.Name] = rest.Hook{
			Secrets: secrets, Wake: b.call,
			Concerns: func(refs []string, head string) bool { return gitsource.Concerns(sc.Ref, refs, head) },
		}
	}
	return nil
}

// burstWindow is how often the webhooks of a source make it be looked at, at most.
const burstWindow = time.Second

// A burst makes few calls of many: the first one at once, and what follows within the
// window together at its end.
type burst struct {
	wake   func() error
	failed func(error) // of a call that nobody waits for

	mu      sync.Mutex
	last    time.Time
	waiting bool
}

func (b *burst) call() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting {
		return nil
	}
	if left := burstWindow - time.Since(b.last); left > 0 {
		b.waiting = true
		time.AfterFunc(left, func() {
			b.mu.Lock()
			b.waiting, b.last = false, time.Now()
			b.mu.Unlock()
			if err := b.wake(); err != nil {
				b.failed(err)
			}
		})
		return nil
	}
	b.last = time.Now()
	return b.wake()
}
