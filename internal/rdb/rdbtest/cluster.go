package rdbtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A Group is several servers that belong together.
type Group struct {
	URL     string
	Servers []*Process // Cluster: the masters; Sentinels: the master, then its replica

	sentinels []*Process
}

// Cluster starts a Redis Cluster of three masters, with further arguments.
func Cluster(t testing.TB, args ...string) *Group {
	t.Helper()
	const masters, slots = 3, 16384
	g := &Group{}
	var addrs []string
	var bus []int
	for i := range masters {
		bus = append(bus, freePort(t))
		p := Start(t, "", append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", strconv.Itoa(bus[i])}, args...)...)
		g.Servers, addrs = append(g.Servers, p), append(addrs, p.Addr())
	}
	g.URL = "redis://" + strings.Join(addrs, ",")
	for i, p := range g.Servers {
		tell(t, p, fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", i*slots/masters, (i+1)*slots/masters-1))
		tell(t, p, fmt.Sprintf("CLUSTER SET-CONFIG-EPOCH %d", i+1))
		if i > 0 {
			tell(t, g.Servers[0], fmt.Sprintf("CLUSTER MEET 127.0.0.1 %d %d", p.port, bus[i]))
		}
	}
	for _, p := range g.Servers {
		await(t, p, "CLUSTER INFO", "cluster_state:ok", fmt.Sprintf("cluster_known_nodes:%d", masters))
	}
	return g
}

// Replicate adds a replica of a Cluster's master, which takes its place when it dies.
func (g *Group) Replicate(master int) *Process {
	m := g.Servers[master]
	t := m.t
	t.Helper()
	bus := freePort(t)
	p := Start(t, "", "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", strconv.Itoa(bus))
	id, err := ask(m.Addr(), "CLUSTER MYID")
	if err != nil {
		t.Fatal(err)
	}
	tell(t, m, fmt.Sprintf("CLUSTER MEET 127.0.0.1 %d %d", p.port, bus))
	_, name, _ := strings.Cut(strings.TrimSpace(id), "\r\n")
	await(t, p, "CLUSTER NODES", name)
	await(t, p, "CLUSTER INFO", "cluster_state:ok", fmt.Sprintf("cluster_known_nodes:%d", len(g.Servers)+1))
	tell(t, p, "CLUSTER REPLICATE "+name)
	await(t, p, "INFO replication", "role:slave", "master_link_status:up")
	for _, other := range g.Servers {
		await(t, other, "CLUSTER NODES", "slave "+name)
	}
	return p
}

// Sentinels starts a master, its replica, and three sentinels that watch over
// them, under the master name "oprc". They take the master for dead only after
// [Group.Expect] or in [Group.FailOver]: on a busy machine a slow answer is no death.
// The two servers get further arguments.
func Sentinels(t testing.TB, args ...string) *Group {
	t.Helper()
	args = append(args, "--repl-diskless-sync-delay", "0")
	master := Start(t, "", args...)
	replica := Start(t, "", append(args, "--replicaof", "127.0.0.1 "+strconv.Itoa(master.port))...)
	g := &Group{Servers: []*Process{master, replica}}
	await(t, replica, "INFO replication", "master_link_status:up")
	var addrs []string
	for i := range 3 {
		conf := filepath.Join(t.TempDir(), fmt.Sprintf("sentinel-%d.conf", i))
		watch := fmt.Sprintf("sentinel monitor oprc 127.0.0.1 %d 2\nsentinel down-after-milliseconds oprc %d\nsentinel failover-timeout oprc 3000\n", master.port, never.Milliseconds())
		if err := os.WriteFile(conf, []byte(watch), 0o600); err != nil {
			t.Fatal(err)
		}
		s := start(t, conf, []string{"--sentinel"})
		// Since 7.0: they find each other in no time, and see sooner who is back.
		_, _ = ask(s.Addr(), "SENTINEL DEBUG INFO-PERIOD 200 PUBLISH-PERIOD 100 ASK-PERIOD 100 MIN-LINK-RECONNECT-PERIOD 500")
		g.sentinels, addrs = append(g.sentinels, s), append(addrs, s.Addr())
		defer await(t, s, "INFO sentinel", "slaves=1,sentinels=3")
	}
	g.URL = "sentinel://" + strings.Join(addrs, ",") + "/0?master=oprc"
	return g
}

// How long the sentinels wait for an answer of the master before they take it for dead.
const (
	never = 10 * time.Minute
	soon  = 500 * time.Millisecond
)

// Expect makes the sentinels replace the master half a second after it has died.
func (g *Group) Expect() { g.patience(soon) }

func (g *Group) patience(d time.Duration) {
	t := g.Servers[0].t
	t.Helper()
	for _, s := range g.sentinels {
		tell(t, s, fmt.Sprintf("SENTINEL SET oprc down-after-milliseconds %d", d.Milliseconds()))
	}
}

// FailOver kills the master, waits until the replica is promoted, and starts the old
// master again as the replica of that one. It changes places with it in Servers.
func (g *Group) FailOver() {
	master, replica := g.Servers[0], g.Servers[1]
	t := master.t
	t.Helper()
	for _, s := range g.sentinels { // or they would see nobody to promote
		await(t, s, "SENTINEL REPLICAS oprc", "flags\r\n$5\r\nslave\r\n", "master-link-status\r\n$2\r\nok\r\n")
	}
	g.Expect()
	master.Kill()
	await(t, replica, "INFO replication", "role:master")
	g.patience(never)
	master.Restart()
	tell(t, master, fmt.Sprintf("REPLICAOF 127.0.0.1 %d", replica.port))
	g.Servers[0], g.Servers[1] = replica, master
}

func tell(t testing.TB, p *Process, command string) {
	t.Helper()
	if answer, err := ask(p.Addr(), command); err != nil || !strings.HasPrefix(answer, "+OK") {
		t.Fatalf("%s: %s: %q, %v", p.Addr(), command, answer, err)
	}
}

// await asks until every text is in the answer.
func await(t testing.TB, p *Process, command string, texts ...string) {
	t.Helper()
	var answer string
	for deadline := time.Now().Add(2 * startTimeout); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		answer, _ = ask(p.Addr(), command)
		missing := false
		for _, text := range texts {
			missing = missing || !strings.Contains(answer, text)
		}
		if !missing {
			return
		}
	}
	t.Fatalf("%s: waited in vain for %q in %s: %s", p.Addr(), texts, command, answer)
}
