package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// Profiles are served on a loopback port of their own, to those who ask for it by a loopback
// name, and not by the API. A profile under way does not hold the daemon up when it ends.
func TestProfiles(t *testing.T) {
	t.Parallel()
	d := serve(t, fmt.Sprintf("redis: {url: %q}\npprof: 127.0.0.1:0\n", rdbtest.Server(t)))
	at := regexp.MustCompile(`msg=profiles address=http://(127\.0\.0\.1:\d+)/debug/pprof/`).FindStringSubmatch(d.log.last(1 << 20))
	if at == nil {
		t.Fatal("the log does not say where profiles are")
	}
	get := func(ctx context.Context, addr, host, path string) (int, string, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
		if err != nil {
			return 0, "", err
		}
		r.Host = host
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		return res.StatusCode, string(body), err
	}
	for _, c := range []struct {
		addr, host, path string
		status           int
		want             string
	}{
		{at[1], "", "/debug/pprof/goroutine?debug=1", 200, "goroutine profile: total"},
		{at[1], "localhost", "/debug/pprof/", 200, "heap"},
		{at[1], "rebound.example:6060", "/debug/pprof/heap", 403, ""},
		{at[1], "", "/packages", 404, ""},
		{d.addr, "", "/debug/pprof/heap", 404, ""},
		{d.addr, "", "/debug/pprof/", 404, ""},
	} {
		status, body, err := get(t.Context(), c.addr, c.host, c.path)
		if err != nil || status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s of %s as %q: got %d %.80q %v, want %d %q", c.path, c.addr, c.host, status, body, err, c.status, c.want)
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, _, err := get(t.Context(), at[1], "", "/debug/pprof/trace?seconds=3600")
		ended <- err
	}()
	within(t, patience, "a trace is being taken", func() string {
		_, body, err := get(t.Context(), at[1], "", "/debug/pprof/goroutine?debug=2")
		if err != nil || !strings.Contains(body, "pprof.Trace") {
			return fmt.Sprint("no trace yet ", err)
		}
		return ""
	})
	d.signal(syscall.SIGTERM)
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("the trace of an hour came to its end")
	}
}

// Nobody else can be served profiles, whatever the configuration says.
func TestProfilesBeyondLoopback(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:6060", "oprc.example:6060", "6060"} {
		_, stderr, code := oprc(t, t.TempDir(), "serve", "--pprof", address)
		if code != 1 || !strings.Contains(stderr, fmt.Sprintf("pprof: %q is not a port of the loopback interface", address)) {
			t.Errorf("--pprof %s: got %d %s", address, code, stderr)
		}
	}
}
