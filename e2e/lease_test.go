package e2e_test

import (
	"bufio"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// A witness sees every command that Redis executes, and tells what a leader alone
// may write by who wrote it.
type witness struct {
	mu     sync.Mutex
	asked  map[string]int // scripts that each daemon called
	writes map[string][]string
	name   func(addr string) string
}

var (
	monitored = regexp.MustCompile(`^\+[0-9.]+ \[\d+ ([^\]]+)\] "([^"]*)"(?: "((?:[^"\\]|\\.)*)")?`)
	// The catalogue but its events and the names of environments, which reports
	// change too; the lease is asked for by everybody. Of an environment the records.
	leaders = regexp.MustCompile(`^oaas_pm:\{catalog\}:(packages|classes|functions|deployments|digests|sources|environments|history:.*)$|` +
		`^oaas_pm:\{env:[^}]*\}:(units|digests|fence)$|\.commands$`)
)

// watch begins to witness; name tells a daemon by its connection.
func watch(t *testing.T, addr string, name func(addr string) string) *witness {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{asked: map[string]int{}, writes: map[string][]string{}, name: name}
	if _, err := fmt.Fprint(conn, "MONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		lines := bufio.NewReaderSize(conn, 1<<20)
		caller := ""
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if m := monitored.FindStringSubmatch(line); m != nil {
				caller = w.see(caller, m[1], strings.ToUpper(m[2]), m[3])
			}
		}
	})
	t.Cleanup(func() { _ = conn.Close(); reader.Wait() })
	return w
}

// see notes one command; what a script does comes after the script's own line.
func (w *witness) see(caller, addr, command, key string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if addr != "lua" {
		caller = w.name(addr)
		if strings.HasPrefix(command, "EVAL") {
			w.asked[caller]++
		}
	}
	switch command {
	case "HSET", "HDEL", "XADD", "SET", "DEL", "SADD":
		if leaders.MatchString(key) {
			w.writes[caller] = append(w.writes[caller], command+" "+key)
		}
	}
	return caller
}

// of returns how many scripts a daemon called so far, and what it wrote as a leader.
func (w *witness) of(name string) (asked int, writes []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[name], w.writes[name]
}

func lease(t *testing.T, c *redis.Client) map[string]string {
	t.Helper()
	all, err := c.HGetAll(t.Context(), "oaas_pm:{catalog}:lease").Result()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Of two daemons one acts. When it is stopped the other takes over within the
// lease; when it goes on it writes nothing. When that other one is killed it takes
// over again.
func TestTwoDaemonsOneActs(t *testing.T) {
	t.Parallel()
	const takeover = 10*time.Second + 5*time.Second // the lease, and the time between two looks, generously
	store := rdbtest.Start(t, "")
	files := newFiles(t)
	names := []string{"first", "second"}
	daemons, proxies := map[string]*daemonProcess{}, map[string]*faultProxy{}
	for _, name := range names {
		proxies[name] = startProxy(t, store.URL())
	}
	w := watch(t, store.Addr(), func(addr string) string {
		for name, p := range proxies {
			if p.owns(addr) {
				return name
			}
		}
		return ""
	})
	wishes := []wish{{version: 1, partitions: 3}}
	change := func() {
		wishes[0].version++
		wishes[0].write(t, files, 0)
	}
	change()
	crms := startCRMs(t, store.URL(), crm.Options{})
	daemons["first"] = startDaemon(t, proxies["first"].URL, files)
	runsWhatIsAsked(t, patience, crms, wishes)
	daemons["second"] = startDaemon(t, proxies["second"].URL, files)
	c := chaosClient(t, store.URL())
	was := lease(t, c)

	for range 3 {
		change()
		runsWhatIsAsked(t, patience, crms, wishes)
	}
	if _, writes := w.of("second"); len(writes) > 0 {
		t.Errorf("the second daemon wrote while the first led: %v", writes)
	}
	if _, writes := w.of("first"); len(writes) == 0 {
		t.Fatal("nothing of the leader's writes was seen")
	}

	change() // it stops in the midst of this
	daemons["first"].pause()
	change()
	took := runsWhatIsAsked(t, takeover, crms, wishes)
	is := lease(t, c)
	t.Logf("SIGSTOP: the second daemon had carried out what was asked for after %s; tokens %s, then %s", took.Round(time.Millisecond), was["token"], is["token"])
	if is["holder"] == was["holder"] || is["token"] <= was["token"] {
		t.Errorf("the lease went from %v to %v", was, is)
	}
	asked, before := w.of("first")
	change() // there is something to do for both
	daemons["first"].resume()
	runsWhatIsAsked(t, patience, crms, wishes)
	within(t, patience, "the old leader tries", func() string {
		if now, _ := w.of("first"); now < asked+5 {
			return fmt.Sprintf("%d scripts since", now-asked)
		}
		return ""
	})
	now, after := w.of("first")
	t.Logf("SIGCONT: the old leader called %d scripts and wrote %d times", now-asked, len(after)-len(before))
	if len(after) > len(before) {
		t.Errorf("the old leader wrote after it was succeeded: %v", after[len(before):])
	}

	daemons["second"].kill()
	change()
	took = runsWhatIsAsked(t, takeover, crms, wishes)
	t.Logf("kill -9: the first daemon had carried out what was asked for after %s; token %s", took.Round(time.Millisecond), lease(t, c)["token"])
	if _, writes := w.of("first"); len(writes) == len(after) {
		t.Error("nothing of the new leader's writes was seen")
	}
}
