package conformance_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A mini is a small CRM with one mistake, or none. It is written after
// docs/protocol.md, on a Redis client alone, and runs in a process of its own.
type mini struct {
	mistake string
	c       *redis.Client
	url     string        // of the workloads
	lease   time.Duration // of commands

	mu        sync.Mutex
	runs      map[string]workload // by unit
	deploying bool
}

// A workload answers GET /UNIT/conformance.
type workload struct {
	Generation int64             `json:"-"`
	SpecHash   string            `json:"-"`
	Instance   string            `json:"instance"`
	Env        map[string]string `json:"env"`
}

// record is a unit's record, or the same of a command.
type record struct {
	Op         string
	Generation int64
	SpecHash   string
	Unit       oprc.DeploymentUnit
}

const (
	miniUnits    = "oaas_pm:{env:conformance}:units"
	miniStatus   = "oaas_pm:{env:conformance}:status"
	miniCommands = "oaas.pm.{env:conformance}.commands"
	miniReports  = "oaas.pm.{env:conformance}.reports"
	miniDead     = "oaas.pm.{env:conformance}.dead"
)

// runMini is the whole program.
func runMini(redisURL, mistake, lease string) error {
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		return err
	}
	m := &mini{mistake: mistake, c: redis.NewClient(options), runs: map[string]workload{}}
	if m.lease, err = time.ParseDuration(lease); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m.url = "http://" + l.Addr().String() + "/"
	go func() { _ = http.Serve(l, http.HandlerFunc(m.answer)) }() //nolint:gosec // a test
	ctx := context.Background()
	go m.beat(ctx)
	if mistake != "keeps nothing fresh" {
		go m.keepFresh(ctx)
	}
	for first := true; ; first = false {
		err := m.session(ctx, first)
		lost := strings.HasPrefix(err.Error(), "NOGROUP") || strings.HasPrefix(err.Error(), "UNBLOCKED") // the latter where it waits
		if lost && mistake == "stops everything after a loss" {
			m.mu.Lock()
			clear(m.runs)
			m.mu.Unlock()
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (m *mini) answer(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	unit, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/"), "/conformance")
	what, runs := m.runs[unit]
	if !ok || !runs {
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(what)
}

func (m *mini) report(ctx context.Context, fields map[string]string) error {
	values := map[string]string{"crm": "mini", "ts": time.Now().UTC().Format(time.RFC3339Nano)}
	maps.Copy(values, fields)
	return m.c.XAdd(ctx, &redis.XAddArgs{Stream: miniReports, Values: values}).Err()
}

func (m *mini) beat(ctx context.Context) {
	for {
		m.mu.Lock()
		silent := m.deploying && m.mistake == "no heartbeat while it deploys"
		m.mu.Unlock()
		if !silent {
			_ = m.report(ctx, map[string]string{"type": "heartbeat", "availability": "0.99"})
		}
		time.Sleep(oprc.HeartbeatInterval)
	}
}

func (m *mini) keepFresh(ctx context.Context) {
	for {
		time.Sleep(m.lease / 4)
		pending, _ := m.c.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: miniCommands, Group: "crm", Start: "-", End: "+", Count: 100, Consumer: "mini"}).Result()
		for _, p := range pending {
			m.c.XClaimJustID(ctx, &redis.XClaimArgs{Stream: miniCommands, Group: "crm", Consumer: "mini", Messages: []string{p.ID}})
		}
	}
}

// session joins and works until Redis fails.
func (m *mini) session(ctx context.Context, first bool) error {
	if err := m.c.XGroupCreateMkStream(ctx, miniCommands, "crm", "0").Err(); err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return err
	}
	if m.mistake != "reads no records" {
		if err := m.resync(ctx, true); err != nil {
			return err
		}
	}
	reread := time.Now()
	for ; ; first = false {
		if m.mistake != "never claims" && (first || m.mistake != "claims at its start alone") {
			if err := m.c.XAutoClaimJustID(ctx, &redis.XAutoClaimArgs{Stream: miniCommands, Group: "crm", Consumer: "mini", MinIdle: m.lease, Start: "0", Count: 100}).Err(); err != nil {
				return err
			}
		}
		if m.mistake != "reads no records" && time.Since(reread) > time.Second {
			reread = time.Now()
			if err := m.resync(ctx, false); err != nil {
				return err
			}
		}
		for start, block := range map[string]time.Duration{"0": -1, ">": 100 * time.Millisecond} {
			streams, err := m.c.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "crm", Consumer: "mini", Streams: []string{miniCommands, start}, Count: 100, Block: block}).Result()
			if errors.Is(err, redis.Nil) {
				continue
			}
			if err != nil {
				return err
			}
			for _, e := range streams[0].Messages {
				if err := m.handle(ctx, e); err != nil {
					return err
				}
			}
		}
	}
}

func (m *mini) resync(ctx context.Context, full bool) error {
	records, err := m.c.HGetAll(ctx, miniUnits).Result()
	if err != nil {
		return err
	}
	for id, text := range records {
		var rec record
		if err := json.Unmarshal([]byte(text), &rec); err != nil {
			return err
		}
		m.mu.Lock()
		what, runs := m.runs[id]
		m.mu.Unlock()
		switch {
		case rec.Op == "undeploy" && !runs && (!full || strings.Contains(m.c.HGet(ctx, miniStatus, id).Val(), `"DELETED"`)):
		case !full && rec.Op == "deploy" && runs && what.Generation == rec.Generation && what.SpecHash == rec.SpecHash:
		default:
			if err := m.carryOut(ctx, id, rec); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *mini) handle(ctx context.Context, e redis.XMessage) error {
	if m.mistake == "acknowledges first" {
		m.c.XAck(ctx, miniCommands, "crm", e.ID)
	}
	if e.Values == nil {
		return m.c.XAck(ctx, miniCommands, "crm", e.ID).Err()
	}
	if reason, err := m.obey(ctx, e); err != nil {
		return err
	} else if reason != "" {
		fields, _ := json.Marshal(e.Values)
		letter := map[string]string{"stream": "commands", "id": e.ID, "reason": reason, "by": "mini", "ts": time.Now().UTC().Format(time.RFC3339Nano), "fields": string(fields)}
		if err := m.c.XAdd(ctx, &redis.XAddArgs{Stream: miniDead, Values: letter}).Err(); err != nil {
			return err
		}
	}
	return m.c.XAck(ctx, miniCommands, "crm", e.ID).Err()
}

// obey carries a command out, or says why it never can.
func (m *mini) obey(ctx context.Context, e redis.XMessage) (refused string, err error) {
	text := func(name string) string { s, _ := e.Values[name].(string); return s }
	rec := record{Op: text("type"), SpecHash: text("specHash")}
	if rec.Generation, err = strconv.ParseInt(text("generation"), 10, 64); err != nil {
		return "generation is no number", nil
	}
	if err := json.Unmarshal([]byte(text("unit")), &rec.Unit); err != nil {
		return "unit is no JSON", nil
	}
	if rec.Op != "deploy" && rec.Op != "undeploy" {
		return "unknown type", nil
	}
	var known record
	stored, err := m.c.HGet(ctx, miniUnits, text("id")).Result()
	if errors.Is(err, redis.Nil) {
		return "unknown unit", nil
	}
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal([]byte(stored), &known); err != nil {
		return "", err
	}
	switch {
	case rec.Generation < known.Generation && m.mistake == "ignores generations":
	case rec.Generation < known.Generation:
		return "", nil
	case rec.Generation > known.Generation || rec.SpecHash != known.SpecHash:
		return "never dispatched", nil
	}
	return "", m.carryOut(ctx, text("id"), rec)
}

// carryOut makes one unit so, and reports.
func (m *mini) carryOut(ctx context.Context, id string, rec record) error {
	about := map[string]string{"type": "status", "id": id, "generation": strconv.FormatInt(rec.Generation, 10), "specHash": rec.SpecHash}
	say := func(condition string) error {
		fields := maps.Clone(about)
		fields["condition"] = condition
		if condition == "RUNNING" && m.mistake != "reports no URL" {
			functions := map[string]oprc.FunctionStatus{}
			for _, f := range rec.Unit.Functions {
				url := f.StaticURL
				if url == "" {
					url = m.url + id
				}
				functions[f.Key] = oprc.FunctionStatus{Condition: oprc.Running, InvocationURL: url}
			}
			text, _ := json.Marshal(functions)
			fields["functions"] = string(text)
		}
		err := m.report(ctx, fields)
		if m.mistake == "forgets refused reports" {
			return nil
		}
		return err
	}
	m.mu.Lock()
	was, runs := m.runs[id]
	if rec.Op == "undeploy" {
		delete(m.runs, id)
	}
	m.mu.Unlock()
	same := runs && was.Generation == rec.Generation && was.SpecHash == rec.SpecHash
	switch {
	case rec.Op == "undeploy":
		return say("DELETED")
	case same && m.mistake == "restarts on a repeat":
		m.start(id, rec, 0)
		return say("RUNNING")
	case same:
		return say("RUNNING")
	case runs && was.Generation == rec.Generation && m.mistake == "takes another spec for a repeat":
		about["specHash"] = was.SpecHash
		return say("RUNNING")
	case runs && was.Generation == rec.Generation && m.mistake == "echoes what it did not deploy":
		if err := say("DEPLOYING"); err != nil {
			return err
		}
		return say("RUNNING")
	case runs && rec.Generation < was.Generation && m.mistake == "disbelieves generation 1":
		return nil
	case m.mistake == "is always DOWN":
		return say("DOWN")
	}
	if err := say("DEPLOYING"); err != nil {
		return err
	}
	delay := 0
	for _, f := range rec.Unit.Functions {
		delay, _ = strconv.Atoi(f.Config.Env["CONFORMANCE_START_DELAY"].Text)
	}
	m.start(id, rec, time.Duration(delay)*time.Second)
	return say("RUNNING")
}

func (m *mini) start(id string, rec record, delay time.Duration) {
	m.mu.Lock()
	m.deploying = true
	m.mu.Unlock()
	time.Sleep(delay)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deploying = false
	what := workload{rec.Generation, rec.SpecHash, rand.Text(), map[string]string{}}
	for _, f := range rec.Unit.Functions {
		if d := rec.Unit.Provision[f.Key].Docker; d != nil {
			for name, v := range d.Env {
				what.Env[name] = v.Text
			}
		}
		for name, v := range f.Config.Env {
			what.Env[name] = v.Text
		}
	}
	m.runs[id] = what
}

// miniArgs are the arguments of a process of this program that is a mini.
func miniArgs(redisURL, mistake string, lease time.Duration) []string {
	return []string{os.Args[0], "mini", redisURL, mistake, fmt.Sprint(lease)}
}
