package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/embedded"
	"github.com/redis/go-redis/v9"
)

// The test binary is also the other process: `increment DIR N` opens and closes the
// state N times and adds one each time; `hold DIR` keeps it open until a signal; `read
// DIR` reads it, and tries to write.
func TestMain(m *testing.M) {
	if role := os.Getenv("EMBEDDED_ROLE"); role != "" {
		if err := play(role, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func play(role string, args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch role {
	case "hold":
		return hold(ctx, args[0])
	case "read":
		return readOnly(ctx, args[0])
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for range n {
		if err := increment(ctx, args[0]); err != nil {
			return err
		}
	}
	return nil
}

// increment reads, and writes what it read plus one: two at once would lose one.
func increment(ctx context.Context, dir string) error {
	i, err := embedded.Open(ctx, dir, time.Minute)
	if err != nil {
		return err
	}
	c, err := client(i.URL())
	if err != nil {
		return err
	}
	n, err := c.HGet(ctx, "counters", "n").Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	if err := c.HSet(ctx, "counters", "n", n+1).Err(); err != nil {
		return err
	}
	if err := c.Close(); err != nil {
		return err
	}
	return i.Close()
}

func hold(ctx context.Context, dir string) error {
	i, err := embedded.Open(ctx, dir, time.Minute)
	if err != nil {
		return err
	}
	if err := i.Hold(); err != nil {
		return err
	}
	fmt.Println("holding")
	if err := i.Run(ctx); err != nil {
		return err
	}
	return i.Close()
}

// readOnly prints what it reads, and whether its own write is refused.
func readOnly(ctx context.Context, dir string) error {
	i, err := embedded.Open(ctx, dir, time.Minute)
	if err != nil {
		return err
	}
	c, err := client(i.URL())
	if err != nil {
		return err
	}
	n, err := c.HGet(ctx, "counters", "n").Int()
	if err != nil {
		return err
	}
	fmt.Println(n)
	if err := errors.Join(i.Save(ctx), c.HSet(ctx, "counters", "n", n+1).Err()); err != nil {
		return err
	}
	if errors.Is(i.Save(ctx), fs.ErrPermission) && errors.Is(i.Close(), fs.ErrPermission) {
		fmt.Println("refused")
	}
	return nil
}

func client(url string) (*redis.Client, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	return redis.NewClient(o), nil
}
