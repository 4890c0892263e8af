package rdb_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

func TestBadURLs(t *testing.T) {
	tests := map[string]string{
		"http://localhost":                "unknown scheme",
		"redis://localhost:99999":         `"99999" is no port`,
		"redis://localhost/x":             `"x" is no database number`,
		"redis://localhost/-1":            `"-1" is no database number`,
		"sentinel://localhost":            "needs ?master=NAME",
		"localhost:1,localhost:2/3":       "a Cluster has only database 0",
		"redis://u:%zzsecret@localhost":   "bad %-escape",
		"redis://u:secret@localhost?a=%z": "query cannot be read",
	}
	for url, want := range tests {
		t.Run(url, func(t *testing.T) {
			_, err := rdb.Open(t.Context(), rdb.Options{URL: url})
			if !errors.Is(err, oprc.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want invalid: %s", err, want)
			}
		})
	}
}

// A command that finds no Redis must fail within five seconds, whatever the way in
// which there is none, and say which address it tried.
func TestOpenFailsSoonAndNamesTheAddress(t *testing.T) {
	refused := closedPort(t)
	silent := silentServer(t)
	paused := rdbtest.Start(t, "")
	paused.Pause()
	tests := map[string]struct{ url, where, cause string }{
		"refused":           {"redis://:secret@" + refused, refused, "connection refused"},
		"silent":            {"redis://" + silent, silent, "no answer in time"},
		"paused":            {paused.URL(), paused.Addr(), "no answer in time"},
		"black hole":        {"redis://192.0.2.1:6379", "192.0.2.1:6379", ""},
		"no socket":         {"unix:///nowhere/redis.sock", "/nowhere/redis.sock", "no such file or directory"},
		"no TLS there":      {"rediss://" + silent, silent, "no answer in time"},
		"cluster":           {refused + "," + refused, refused + "," + refused, "connection refused"},
		"sentinels refused": {"sentinel://" + refused + "," + refused + "?master=m", "master m", ""},
		"sentinels silent":  {"sentinel://" + silent + "?master=m", silent, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			_, err := rdb.Open(t.Context(), rdb.Options{URL: tt.url})
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("took %v", took)
			}
			if !errors.Is(err, rdb.ErrUnavailable) {
				t.Fatalf("got %v, want unavailable", err)
			}
			for _, want := range []string{tt.where, tt.cause} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%q shows the password", err)
			}
		})
	}
}

func TestMessageWhenRefused(t *testing.T) {
	addr := closedPort(t)
	_, err := rdb.Open(t.Context(), rdb.Options{URL: addr})
	if want := "redis at " + addr + ": connection refused"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWrongPasswordIsDenied(t *testing.T) {
	url := rdbtest.Server(t, "--requirepass", "right")
	addr := strings.TrimPrefix(url, "redis://")
	for name, o := range map[string]rdb.Options{
		"none":  {URL: url},
		"wrong": {URL: "redis://:wrong@" + addr},
	} {
		if _, err := rdb.Open(t.Context(), o); !errors.Is(err, rdb.ErrDenied) || errors.Is(err, rdb.ErrUnavailable) {
			t.Errorf("%s: got %v, want denied", name, err)
		}
	}
	for name, o := range map[string]rdb.Options{
		"in the URL":   {URL: "redis://default:right@" + addr + "/3"},
		"beside it":    {URL: url, Password: "right"},
		"over the URL": {URL: "redis://x:wrong@" + addr, Username: "default", Password: "right"},
	} {
		db, err := rdb.Open(t.Context(), o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = db.Close()
	}
}

func TestUnixSocket(t *testing.T) {
	socket := t.TempDir() + "/redis.sock"
	rdbtest.Server(t, "--unixsocket", socket)
	open(t, "unix://"+socket)
}

// When Redis dies and comes back, the same DB fails in between, with the address,
// and works again after.
func TestRecoversAfterRestart(t *testing.T) {
	p := rdbtest.Start(t, t.TempDir())
	db := open(t, p.URL())
	if err := write(t, db, shop()); err != nil {
		t.Fatal(err)
	}
	before := must(db.Live(t.Context()))(t)
	p.Kill()
	calls := map[string]func(ctx context.Context) error{
		"live":   func(ctx context.Context) error { _, err := db.Live(ctx); return err },
		"commit": func(ctx context.Context) error { _, err := db.Commit(ctx, shop()); return err },
		"dispatch": func(ctx context.Context) error {
			return db.Dispatch(ctx, "edge", []oprc.Command{command(unit("a.b", 0, 0, "edge"), oprc.Deploy, 1)}, 0)
		},
		"reports": func(ctx context.Context) error { _, err := db.Reports(ctx, "edge", "one", 1, time.Second); return err },
		"lease":   func(ctx context.Context) error { _, _, err := db.Acquire(ctx, "a", time.Second); return err },
		"trim":    func(ctx context.Context) error { return db.Trim(ctx, "edge") },
		"names":   func(ctx context.Context) error { _, err := db.EnvironmentNames(ctx); return err },
	}
	for name, call := range calls {
		err := call(t.Context())
		if !errors.Is(err, rdb.ErrUnavailable) || !strings.Contains(err.Error(), "redis at "+p.Addr()+": connection") {
			t.Errorf("%s: got %v, want unavailable", name, err)
		}
	}
	p.Restart()
	equal(t, must(db.Live(short(t)))(t), before)
	for name, call := range calls {
		if err := call(t.Context()); err != nil && !errors.Is(err, oprc.ErrConflict) {
			t.Errorf("%s after the restart: %v", name, err)
		}
	}
}

// A server that hangs must not hang those who wait for it.
func TestPausedServerTimesOut(t *testing.T) {
	p := rdbtest.Start(t, "")
	db := open(t, p.URL())
	p.Pause()
	defer p.Resume()
	for name, call := range map[string]func() error{
		"reports": func() error { _, err := db.Reports(t.Context(), "edge", "one", 1, time.Second); return err },
		"live":    func() error { _, err := db.Live(t.Context()); return err },
		"dispatch": func() error {
			return db.Dispatch(t.Context(), "edge", []oprc.Command{command(unit("a.b", 0, 0, "edge"), oprc.Deploy, 1)}, 0)
		},
	} {
		start := time.Now()
		if err := call(); !errors.Is(err, rdb.ErrUnavailable) || time.Since(start) > 4500*time.Millisecond {
			t.Errorf("%s: got %v after %v", name, err, time.Since(start))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := db.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, rdb.ErrUnavailable) {
		t.Errorf("the caller's own deadline: got %v", err)
	}
	p.Resume()
	if err := db.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCloseLeavesNothingRunning(t *testing.T) {
	onServers(t, func(t *testing.T, url string) { // miniredis would run on in this process
		ignore := goleak.IgnoreCurrent()
		db, err := rdb.Open(t.Context(), rdb.Options{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		reports(t, db, "one")
		must(db.Live(t.Context()))(t)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(t.Context()); !errors.Is(err, rdb.ErrUnavailable) {
			t.Errorf("closed: got %v, want unavailable", err)
		}
		goleak.VerifyNone(t, ignore)
	})
}

func closedPort(t testing.TB) string {
	t.Helper()
	l := listen(t)
	_ = l.Close()
	return l.Addr().String()
}

// silentServer accepts connections and never says a word.
func silentServer(t testing.TB) string {
	t.Helper()
	l := listen(t)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
