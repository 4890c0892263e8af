package cli_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/cli"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// The clocks of the machines on which daemons and commands run differ from that of
// Redis by half a minute, which is longer than a CRM may be silent. As shipped, with
// nothing in between, all of them take a living CRM for living.
func TestMachinesWithWrongClocks(t *testing.T) {
	store := rdbtest.Server(t)
	u := newUser(t)
	u.env = []string{"OPRC_REDIS_URL=" + store}
	u.must("env", "create", "edge")
	u.must("apply", "-f", u.file("shop.yaml", strings.ReplaceAll(shop, "[local]", "[edge]")))

	// runAt runs a command on a machine whose clock is off.
	runAt := func(ctx context.Context, off time.Duration, args ...string) (out, errs string) {
		var stdout, stderr bytes.Buffer
		cli.Run(ctx, cli.Process{
			Args: args, In: strings.NewReader(""), Out: &stdout, Err: &stderr,
			Now:     func() time.Time { return time.Now().Add(off) },
			Environ: append([]string{"HOME=" + u.home, "USER=ada"}, u.env...),
		})
		return stdout.String(), stderr.String()
	}
	for name, off := range map[string]time.Duration{"slow": -30 * time.Second, "fast": 30 * time.Second} {
		t.Run(name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan string, 2)
			config := u.file(name+".yaml", "port: 0\n")
			for _, args := range [][]string{{"serve", "--config", config}, {"crm", "run", "--env", "edge", "--start-delay", "1ms"}} {
				go func() {
					_, log := runAt(ctx, off, args...)
					ended <- log
				}()
			}
			defer func() {
				stop()
				for range 2 {
					if log := <-ended; t.Failed() {
						t.Log(log)
					}
				}
			}()
			for _, reader := range []time.Duration{off, 0, -off} {
				deadline := time.Now().Add(time.Minute)
				for {
					envs, _ := runAt(ctx, reader, "get", "environments")
					units, _ := runAt(ctx, reader, "get", "units")
					if strings.Contains(envs, "HEALTHY") && strings.Contains(units, "RUNNING") && !strings.Contains(units, "DOWN") {
						break
					}
					if time.Now().After(deadline) {
						t.Fatalf("a reader whose clock is off by %s sees\n%s\n%s", reader, envs, units)
					}
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
}
