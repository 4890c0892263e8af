//go:build endurance

package e2e_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// A mute CRM sends heartbeats, takes commands, acknowledges them, and says nothing: it
// crashed in its own logic, say. It speaks the protocol without the SDK.
type muteCRM struct {
	c   *redis.Client
	env string

	mu  sync.Mutex
	got map[string][]redis.XMessage // by unit
}

func (m *muteCRM) run(ctx context.Context) {
	commands := "oaas.pm.{env:" + m.env + "}.commands"
	_ = m.c.XGroupCreateMkStream(ctx, commands, "crm", "0").Err() // it may be there
	beat := time.Time{}
	for ctx.Err() == nil {
		if time.Since(beat) > 2*time.Second {
			beat = time.Now()
			m.report(ctx, map[string]string{"type": "heartbeat"})
		}
		streams, err := m.c.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: "crm", Consumer: "mute", Streams: []string{commands, ">"}, Block: 100 * time.Millisecond,
		}).Result()
		if err != nil {
			continue // nothing there
		}
		m.mu.Lock()
		for _, e := range streams[0].Messages {
			id, _ := e.Values["id"].(string)
			m.got[id] = append(m.got[id], e)
			_ = m.c.XAck(ctx, commands, "crm", e.ID).Err()
		}
		m.mu.Unlock()
	}
}

func (m *muteCRM) report(ctx context.Context, fields map[string]string) {
	fields["crm"], fields["ts"] = "mute", time.Now().UTC().Format(time.RFC3339Nano)
	_ = m.c.XAdd(ctx, &redis.XAddArgs{Stream: "oaas.pm.{env:" + m.env + "}.reports", Values: fields}).Err()
}

// taken returns what it was sent, by unit.
func (m *muteCRM) taken() map[string][]redis.XMessage {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string][]redis.XMessage{}
	for id, list := range m.got {
		out[id] = append([]redis.XMessage(nil), list...)
	}
	return out
}

// pausesOf are the times between the entries of a stream, by Redis' clock.
func pausesOf(t *testing.T, entries []redis.XMessage) []time.Duration {
	t.Helper()
	var out []time.Duration
	was := int64(0)
	for _, e := range entries {
		text, _, _ := strings.Cut(e.ID, "-")
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if was != 0 {
			out = append(out, time.Duration(ms-was)*time.Millisecond)
		}
		was = ms
	}
	return out
}

// A CRM swallows its commands. They come again, with the generation and everything else
// as before, after pauses that grow and differ from unit to unit, until it reports; also
// when the daemon is killed meanwhile.
func TestUnansweredCommandsComeAgain(t *testing.T) {
	t.Parallel()
	const units, times = 6, 4
	store := rdbtest.Server(t)
	files := t.TempDir()
	declare(t, files, "east", "west")
	config := fmt.Sprintf("redis: {url: %q}\nsources: [{name: files, url: %q, interval: 1s}]\nresend: {first: 1s, max: 4s}\n", store, files)
	daemon := serve(t, config)
	m := &muteCRM{c: chaosClient(t, store), env: "east", got: map[string][]redis.XMessage{}}
	var crms sync.WaitGroup
	crms.Go(func() { m.run(t.Context()) })
	t.Cleanup(crms.Wait)
	wish{version: 1, partitions: units}.write(t, files, 0)

	sent := func(n int) func() string {
		return func() string {
			taken := m.taken()
			for id, list := range taken {
				if len(list) < n {
					return fmt.Sprintf("%s came %d times", id, len(list))
				}
			}
			if len(taken) != units {
				return fmt.Sprintf("%d units", len(taken))
			}
			return ""
		}
	}
	within(t, patience, "all came again, and again", sent(times))
	taken := m.taken()
	first := map[time.Duration]bool{}
	// A pause that a daemon did not see begin counts from the command's record, which is
	// older than its entry by as long as the writing took.
	least := []time.Duration{time.Second * 3 / 4, 2 * time.Second * 3 / 4, 4 * time.Second * 3 / 4}
	for id, list := range taken {
		for _, e := range list {
			for field, value := range e.Values {
				if field != "ts" && value != list[0].Values[field] {
					t.Errorf("%s: %s was %v, came again as %v", id, field, list[0].Values[field], value)
				}
			}
		}
		pauses := pausesOf(t, list)[:times-1]
		first[pauses[0].Round(10*time.Millisecond)] = true
		for i, p := range pauses {
			if p < least[i] {
				t.Errorf("%s: pauses %v, want at least %v", id, pauses, least)
			}
		}
		t.Logf("%s: pauses %v", id, pauses)
	}
	if len(first) < 2 {
		t.Errorf("all keep in step: %v", first)
	}
	if n := daemon.metric(`oprc_commands_resent_total{env="east"}`); n < units*(times-1) {
		t.Errorf("the daemon counted %v", n)
	}

	daemon.kill()
	serve(t, config)
	within(t, patience, "they come from the next daemon, too", sent(times+2))
	for id, list := range m.taken() {
		f := list[0].Values
		m.report(t.Context(), map[string]string{
			"type": "status", "id": id, "condition": "RUNNING",
			"generation": fmt.Sprint(f["generation"]), "specHash": fmt.Sprint(f["specHash"]),
		})
	}
	within(t, patience, "all reports are in the status", func() string {
		status, err := m.c.HGetAll(t.Context(), "oaas_pm:{env:east}:status").Result()
		if err != nil || len(status) < units {
			return fmt.Sprint(len(status), " units, ", err)
		}
		return ""
	})
	time.Sleep(2 * time.Second) // one may be on its way
	before := m.taken()
	time.Sleep(7 * time.Second) // longer than the longest pause
	for id, list := range m.taken() {
		if len(list) != len(before[id]) {
			t.Errorf("%s came again after it was reported to run", id)
		}
	}
}
