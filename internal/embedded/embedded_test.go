package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oaas-platform/oprc/internal/embedded"
	"github.com/redis/go-redis/v9"
)

func open(t *testing.T, dir string) (*embedded.Instance, *redis.Client) {
	t.Helper()
	i, err := embedded.Open(t.Context(), dir, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return i, connect(t, i.URL())
}

func connect(t *testing.T, url string) *redis.Client {
	t.Helper()
	c, err := client(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func shut(t *testing.T, i *embedded.Instance) {
	t.Helper()
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
}

func other(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "EMBEDDED_ROLE="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

// startHolder returns once another process holds the state.
func startHolder(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := other(t, "hold", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// try fails the test on the first error of a list of replies.
func try(t *testing.T, cmds ...redis.Cmder) {
	t.Helper()
	for _, c := range cmds {
		if c.Err() != nil {
			t.Fatalf("%s: %v", c, c.Err())
		}
	}
}

// contents reads every key back, through the front door.
func contents(t *testing.T, c *redis.Client) map[string]any {
	t.Helper()
	ctx, got := t.Context(), map[string]any{}
	for _, key := range c.Keys(ctx, "*").Val() {
		switch kind := c.Type(ctx, key).Val(); kind {
		case "string":
			got[key] = c.Get(ctx, key).Val()
		case "hash":
			got[key] = c.HGetAll(ctx, key).Val()
		case "list":
			got[key] = c.LRange(ctx, key, 0, -1).Val()
		case "set":
			got[key] = c.SMembersMap(ctx, key).Val()
		case "zset":
			got[key] = c.ZRangeWithScores(ctx, key, 0, -1).Val()
		case "stream":
			got[key] = c.XRange(ctx, key, "-", "+").Val()
		default:
			t.Fatalf("key %q has type %q", key, kind)
		}
	}
	return got
}

func TestEveryTypeSurvivesAReopening(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	i, c := open(t, dir)
	binary := "\x00\xff\r\n$3\r\nnil €"
	try(t, c.Set(ctx, "string", binary, 0), c.Set(ctx, "empty", "", 0),
		c.HSet(ctx, "N:{env:cloud-1}:units", "b", binary, "a", "", "\xfe", "1"),
		c.RPush(ctx, "list", "b", "a", "b"), c.SAdd(ctx, "set", "y", "x"),
		c.ZAdd(ctx, "zset", redis.Z{Score: 1.5, Member: "m"}, redis.Z{Score: -2e9, Member: "n"}),
		c.XAdd(ctx, &redis.XAddArgs{Stream: "stream", ID: "5-1", Values: []string{"b", "1", "a", binary}}),
		c.XAdd(ctx, &redis.XAddArgs{Stream: "stream", ID: "5-2", Values: []string{"c", ""}}))
	want := contents(t, c)
	if len(want) != 7 {
		t.Fatalf("wrote %d keys, want 7", len(want))
	}
	shut(t, i)

	_, c = open(t, dir)
	if diff := cmp.Diff(want, contents(t, c)); diff != "" {
		t.Errorf("after reopening (-want +got):\n%s", diff)
	}
}

func TestGroupsSurviveWithWhatTheyHaveReceived(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	i, c := open(t, dir)
	for _, id := range []string{"1-0", "2-0", "3-0", "4-0", "5-0"} {
		try(t, c.XAdd(ctx, &redis.XAddArgs{Stream: "s", ID: id, Values: []string{"id", id}}))
	}
	read := func(consumer, from string, count int64) []string {
		t.Helper()
		streams, err := c.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: "g", Consumer: consumer, Streams: []string{"s", from}, Count: count, Block: -1,
		}).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			t.Fatal(err)
		}
		ids := []string{}
		for _, s := range streams {
			for _, m := range s.Messages {
				ids = append(ids, m.ID)
			}
		}
		return ids
	}
	try(t, c.XGroupCreate(ctx, "s", "g", "0"), c.XGroupCreate(ctx, "s", "fresh", "0"), c.XGroupCreateMkStream(ctx, "bare", "g", "$"))
	read("ann", ">", 2)
	read("bob", ">", 2)
	try(t, c.XAck(ctx, "s", "g", "2-0", "3-0"))
	pendingOf := func() []redis.XPendingExt {
		t.Helper()
		got, err := c.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: "s", Group: "g", Start: "-", End: "+", Count: 9}).Result()
		if err != nil {
			t.Fatal(err)
		}
		for k := range got {
			got[k].Idle = 0
		}
		return got
	}
	want := []redis.XPendingExt{{ID: "1-0", Consumer: "ann", RetryCount: 1}, {ID: "4-0", Consumer: "bob", RetryCount: 1}}
	if diff := cmp.Diff(want, pendingOf()); diff != "" {
		t.Fatalf("before closing (-want +got):\n%s", diff)
	}
	shut(t, i)

	_, c = open(t, dir)
	if diff := cmp.Diff(want, pendingOf()); diff != "" {
		t.Errorf("pending after reopening (-want +got):\n%s", diff)
	}
	reads := map[string][]string{"ann's own": read("ann", "0", 9), "bob's own": read("bob", "0", 9), "new": read("bob", ">", 9)}
	if diff := cmp.Diff(map[string][]string{"ann's own": {"1-0"}, "bob's own": {"4-0"}, "new": {"5-0"}}, reads); diff != "" {
		t.Errorf("reads after reopening (-want +got):\n%s", diff)
	}
	if got := c.XInfoGroups(ctx, "bare").Val(); len(got) != 1 || got[0].Name != "g" {
		t.Errorf("groups of a stream without entries: got %v, want g", got)
	}
}

func TestStreamIDsGoOnRising(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	const far = "99999999999999-7" // later than any clock: only memory can beat it
	for name, trim := range map[string]bool{"kept": false, "trimmed": true} {
		i, c := open(t, dir)
		try(t, c.XAdd(ctx, &redis.XAddArgs{Stream: name, ID: far, Values: []string{"k", "v"}}))
		if trim {
			try(t, c.XTrimMaxLen(ctx, name, 0))
		}
		shut(t, i)
		i, c = open(t, dir)
		got, err := c.XAdd(ctx, &redis.XAddArgs{Stream: name, ID: "*", Values: []string{"k", "v"}}).Result()
		if err != nil || got != "99999999999999-8" {
			t.Errorf("%s: next id %q, %v; want 99999999999999-8", name, got, err)
		}
		shut(t, i)
	}
}

func TestExpiryGoesOnByTheClock(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	i, c := open(t, dir)
	try(t, c.Set(ctx, "short", "v", 300*time.Millisecond), c.Set(ctx, "long", "v", time.Hour))
	shut(t, i)
	time.Sleep(400 * time.Millisecond) // time also passes while nobody has the state open
	i, c = open(t, dir)
	if got := c.Keys(ctx, "*").Val(); !cmp.Equal(got, []string{"long"}) {
		t.Errorf("keys after reopening: %v, want long only", got)
	}
	if ttl := c.TTL(ctx, "long").Val(); ttl < 59*time.Minute || ttl > time.Hour {
		t.Errorf("ttl of long is %s", ttl)
	}
	try(t, c.Set(ctx, "new", "v", 100*time.Millisecond))
	running, stop := context.WithTimeout(ctx, 1500*time.Millisecond)
	defer stop()
	if err := i.Run(running); err != nil {
		t.Fatal(err)
	}
	if got := c.Keys(ctx, "*").Val(); !cmp.Equal(got, []string{"long"}) {
		t.Errorf("keys after running: %v, want long only", got)
	}
}

func TestScriptsAndBlockingReads(t *testing.T) {
	i, c := open(t, t.TempDir())
	ctx := t.Context()
	swap := redis.NewScript(`redis.call("HSET", KEYS[1], "f", ARGV[1]); return redis.call("XADD", KEYS[2], "*", "v", ARGV[1])`)
	try(t, c.XGroupCreateMkStream(ctx, "{a}s", "g", "0"))
	got := make(chan error, 1)
	go func() {
		_, err := c.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: "c", Streams: []string{"{a}s", ">"}, Block: 5 * time.Second}).Result()
		got <- err
	}()
	try(t, swap.Run(ctx, c, []string{"{a}h", "{a}s"}, "1"))
	if err := <-got; err != nil {
		t.Error(err)
	}
	// A blocked reader does not keep Close from finishing.
	go func() {
		_, err := c.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: "c", Streams: []string{"{a}s", ">"}, Block: time.Minute}).Result()
		got <- err
	}()
	time.Sleep(50 * time.Millisecond)
	start := time.Now()
	shut(t, i)
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("close took %s", d)
	}
	<-got
}

func TestAPasswordIsNeeded(t *testing.T) {
	i, _ := open(t, t.TempDir())
	o, err := redis.ParseURL(i.URL())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(o.Addr, "127.0.0.1:") {
		t.Errorf("address %s is not loopback", o.Addr)
	}
	bare := connect(t, "redis://"+o.Addr+"/0")
	if err := bare.Set(t.Context(), "k", "v", 0).Err(); err == nil {
		t.Error("a client without the password could write")
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	i, _ := open(t, dir)
	check := func(names ...string) {
		t.Helper()
		var got []string
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if perm := info.Mode().Perm(); perm&0o077 != 0 {
				t.Errorf("%s has mode %o", path, perm)
			}
			if !d.IsDir() {
				got = append(got, d.Name())
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(names, got); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
	check("embedded.json", "embedded.lock")
	shut(t, i)
	check("embedded.lock", "embedded.snapshot")
}

func TestADamagedSnapshotIsRefused(t *testing.T) {
	dir := t.TempDir()
	i, c := open(t, dir)
	try(t, c.Set(t.Context(), "precious", strings.Repeat("x", 1000), 0))
	shut(t, i)
	path := filepath.Join(dir, "embedded.snapshot")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte{}, good...)
	flipped[len(flipped)/2] ^= 1
	for name, data := range map[string][]byte{
		"empty":     {},
		"cut short": good[:len(good)-1],
		"header":    good[:10],
		"one bit":   flipped,
		"newer":     []byte(strings.Replace(string(good), "embedded 1 ", "embedded 2 ", 1)),
		"other":     []byte("{}\n"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			i, err := embedded.Open(t.Context(), dir, time.Second)
			if err == nil {
				i.Close()
				t.Fatal("it was accepted")
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move that file away") {
				t.Errorf("error does not name the file and the way out: %v", err)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(data) {
				t.Errorf("the file was touched: %v", err)
			}
		})
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, c := open(t, dir); c.Get(t.Context(), "precious").Val() == "" {
		t.Error("the good snapshot was not read after the refusals")
	}
}

func TestTwoProcessesLoseNoUpdate(t *testing.T) {
	dir, times := t.TempDir(), "50"
	var cmds []*exec.Cmd
	for range 2 {
		cmd := other(t, "increment", dir, times)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	_, c := open(t, dir)
	if got := c.HGet(t.Context(), "counters", "n").Val(); got != "100" {
		t.Errorf("counter is %s, want 100", got)
	}
}

func TestOthersConnectToAHolder(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	holder := startHolder(t, dir)
	for range 3 {
		if err := increment(ctx, dir); err != nil {
			t.Fatal(err)
		}
	}
	i, c := open(t, dir)
	if !i.Shared() {
		t.Fatal("the state is not shared")
	}
	if got := c.HGet(ctx, "counters", "n").Val(); got != "3" {
		t.Errorf("counter is %s, want 3", got)
	}
	if err := i.Hold(); err != nil {
		t.Error(err)
	}
	shut(t, i) // of a shared instance: the holder goes on
	if err := c.Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	if err := holder.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := holder.Wait(); err != nil {
		t.Fatal(err)
	}
	i, c = open(t, dir) // the holder saved when it ended, and let go
	if got := c.HGet(ctx, "counters", "n").Val(); i.Shared() || got != "3" {
		t.Errorf("after the holder ended: shared %t, counter %q; want false, 3", i.Shared(), got)
	}
}

func TestAKilledHolderLosesAtMostASecond(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	holder := startHolder(t, dir)
	for range 3 {
		if err := increment(ctx, dir); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(1500 * time.Millisecond)
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	i, c := open(t, dir)
	if i.Shared() {
		t.Fatal("took a dead holder for a live one")
	}
	if got := c.HGet(ctx, "counters", "n").Val(); got != "3" {
		t.Errorf("counter is %q, want 3", got)
	}
}

func TestBusyNamesTheOwner(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := embedded.Open(t.Context(), dir, 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("got %v, want the owner's pid", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := embedded.Open(ctx, dir, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestReadingDoesNotRewriteTheSnapshot(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	i, c := open(t, dir)
	try(t, c.HSet(ctx, "h", "a", "1", "b", "2", "c", "3"), c.SAdd(ctx, "s", "x", "y", "z"))
	shut(t, i)
	path := filepath.Join(dir, "embedded.snapshot")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	i, c = open(t, dir)
	contents(t, c)
	shut(t, i)
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the snapshot was replaced though nothing changed: %v", err)
	}
}

// What Save was called for is on disk although the owner is killed at once.
func TestSavedBeforeItIsSaid(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	holder := startHolder(t, dir)
	i, c := open(t, dir)
	try(t, c.HSet(ctx, "counters", "n", 7))
	if err := i.Save(ctx); err != nil {
		t.Fatal(err)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	_, c = open(t, dir)
	if got := c.HGet(ctx, "counters", "n").Val(); got != "7" {
		t.Errorf("after a kill: %q, want 7", got)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("files are left behind: %v, %v", left, err)
	}
}

// Who may only read the directory reads what was saved, and is refused what would be lost.
func TestReadersNeedNotWrite(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	i, c := open(t, dir)
	try(t, c.HSet(ctx, "counters", "n", 3))
	shut(t, i)
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o555, filepath.Join(dir, "embedded.snapshot"): 0o444} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) }) // so that it can be removed
	cmd := other(t, "read", dir)
	if os.Geteuid() == 0 { // to whom modes mean nothing
		program := filepath.Join(filepath.Dir(dir), "reader")
		if err := os.Link(os.Args[0], program); err != nil {
			t.Skip("the test cannot be run by another user: ", err)
		}
		cmd.Path = program
		asNobody(cmd)
	}
	out, err := cmd.Output()
	if want := "3\nrefused\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}
