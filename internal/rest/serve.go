package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/internal/reconcile"
)

// closing is the key of the context that ends when the server begins to stop.
type closing struct{}

// untilClosing returns a context that ends with ctx, or so long after the server began to
// stop.
func untilClosing(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stops, ok := ctx.Value(closing{}).(context.Context)
	if !ok {
		return ctx, cancel
	}
	stop := context.AfterFunc(stops, func() {
		reconcile.Sleep(ctx, grace)
		cancel()
	})
	return ctx, func() { stop(); cancel() }
}

const (
	headerTime = 10 * time.Second
	idleTime   = 2 * time.Minute
	graceTime  = 10 * time.Second // for requests under way when the server stops
	lastTime   = 2 * time.Second  // for their handlers, after their connections were closed
)

// Serve answers on a listener until ctx ends, over TLS if there is a configuration of
// that. It then takes no more requests, ends watches, and lets those under way finish:
// for ten seconds. What does not end then is left behind; Serve returns in any case.
func Serve(ctx context.Context, l net.Listener, h http.Handler, secure *tls.Config) error {
	var running sync.WaitGroup // sockets that were taken over too
	base := context.WithValue(context.WithoutCancel(ctx), closing{}, ctx)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true) // gRPC knows no other HTTP
	s := &http.Server{
		Protocols: protocols,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			running.Add(1)
			defer running.Done()
			h.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    32 << 10,
		TLSConfig:         secure,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // what strangers send is not for the log
	}
	failed := make(chan error, 1)
	go func() {
		if secure != nil {
			failed <- s.ServeTLS(l, "", "")
			return
		}
		failed <- s.Serve(l)
	}()
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
	ended := make(chan struct{})
	go func() { running.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(lastTime):
		err = errors.Join(err, errors.New("a request did not end in time"))
	}
	if err != nil {
		return fmt.Errorf("stop http: %w", err)
	}
	return nil
}
