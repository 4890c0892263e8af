package rest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// closing is the key of the context that ends when the server begins to stop.
type closing struct{}

// untilClosing returns a context that ends with ctx, or when the server begins to
// stop: what never ends by itself must not hold it.
func untilClosing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stops, ok := ctx.Value(closing{}).(context.Context)
	if !ok {
		return ctx, cancel
	}
	stop := context.AfterFunc(stops, cancel)
	return ctx, func() { stop(); cancel() }
}

const (
	headerTime = 10 * time.Second
	idleTime   = 2 * time.Minute
	graceTime  = 10 * time.Second // for requests under way when the server stops
)

// Serve answers on a listener until ctx ends. It then takes no more requests,
// ends watches, lets those under way finish, and returns nil.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	var running sync.WaitGroup // sockets that were taken over too
	base := context.WithValue(context.WithoutCancel(ctx), closing{}, ctx)
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			running.Add(1)
			defer running.Done()
			h.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve http: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTime)
	defer cancel()
	err := s.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.Close()
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	running.Wait()
	if err != nil {
		return fmt.Errorf("stop http: %w", err)
	}
	return nil
}
