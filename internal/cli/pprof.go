package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"golang.org/x/sync/errgroup"
)

// loopback reports whether a host is this machine alone.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkPprof refuses addresses that others can reach: profiles show what is in memory.
func checkPprof(address string) error {
	if address == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil || !loopback(host) {
		return fmt.Errorf("pprof: %q is not a port of the loopback interface, such as 127.0.0.1:6060", address)
	}
	return nil
}

// listenPprof opens the port for profiles. Without an address the listener is nil.
func listenPprof(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("pprof: %w", err)
	}
	if at, is := l.Addr().(*net.TCPAddr); !is || !at.IP.IsLoopback() { // localhost is what the system says
		_ = l.Close()
		return nil, fmt.Errorf("pprof: %s is not on the loopback interface", l.Addr())
	}
	return l, nil
}

// alsoPprof runs serve, and until that ends answers requests for profiles on l, unless that
// is nil. A profile under way is broken off then.
func alsoPprof(l net.Listener, log *slog.Logger, serve func(context.Context) error) func(context.Context) error {
	if l == nil {
		return serve
	}
	return func(ctx context.Context) error {
		log.Info("profiles", "address", "http://"+l.Addr().String()+"/debug/pprof/")
		s := &http.Server{Handler: profiles(), ReadHeaderTimeout: 10 * time.Second}
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("pprof: %w", err)
			}
			return nil
		})
		g.Go(func() error {
			defer func() { _ = s.Close() }()
			return serve(ctx)
		})
		return g.Wait()
	}
}

// profiles answers as go tool pprof expects. A web page that had its own name lead to this
// machine gets nothing.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !loopback(host) {
			http.Error(w, "ask for localhost or an address of the loopback interface", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
