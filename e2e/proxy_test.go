package e2e_test

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// A faultProxy stands between a client and a server, and makes the network as bad
// as it is told.
type faultProxy struct {
	URL    string
	target string
	l      net.Listener
	delay  atomic.Int64 // nanoseconds that each piece takes, either way
	rate   atomic.Int64 // bytes a second towards the client; 0: as they come
	hole   atomic.Bool  // connections fall silent, and stay so for ever

	mu     sync.Mutex
	conns  map[net.Conn]bool
	locals map[string]bool // addresses that the server sees
}

// startProxy makes a proxy for the Redis at a redis:// URL.
func startProxy(t *testing.T, redisURL string) *faultProxy {
	t.Helper()
	u, err := url.Parse(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &faultProxy{URL: "redis://" + l.Addr().String(), target: u.Host, l: l, conns: map[net.Conn]bool{}, locals: map[string]bool{}}
	var pipes sync.WaitGroup
	pipes.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			pipes.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		pipes.Wait()
	})
	return p
}

func (p *faultProxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.locals[server.LocalAddr().String()] = true
	p.mu.Unlock()
	var silent atomic.Bool
	var both sync.WaitGroup
	both.Go(func() { p.pipe(server, client, &silent, false) })
	both.Go(func() { p.pipe(client, server, &silent, true) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, server)
	p.mu.Unlock()
}

func (p *faultProxy) pipe(to, from net.Conn, silent *atomic.Bool, answers bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 16<<10)
	for {
		room := buf
		if rate := p.rate.Load(); answers && rate > 0 {
			room = buf[:max(1, rate/20)]
		}
		n, err := from.Read(room)
		if err != nil {
			return
		}
		time.Sleep(time.Duration(p.delay.Load()))
		if rate := p.rate.Load(); answers && rate > 0 {
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
		}
		if p.hole.Load() {
			silent.Store(true)
		}
		if silent.Load() {
			continue // as if the other end were gone without a word
		}
		if _, err := to.Write(room[:n]); err != nil {
			return
		}
	}
}

// cut ends every connection.
func (p *faultProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *faultProxy) open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) / 2
}

// owns reports whether the server knows a connection of this proxy by that address.
func (p *faultProxy) owns(addr string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.locals[addr]
}

// cutting cuts again and again until the function it returns is called.
func (p *faultProxy) cutting(every time.Duration) (stop func()) {
	done := make(chan struct{})
	var cutter sync.WaitGroup
	cutter.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				p.cut()
			}
		}
	})
	return func() { close(done); cutter.Wait() }
}

// The network between daemon and Redis goes bad in every way. Meanwhile the daemon
// neither spins nor piles anything up; afterwards it catches up within a bound.
func TestBadNetwork(t *testing.T) {
	t.Parallel()
	const (
		lasts    = 2 * time.Second
		recovery = 30 * time.Second // a silent connection is given up after 3 s, and tried again
		mostCPU  = 0.5              // of one core, while it lasts
	)
	store := rdbtest.Server(t)
	proxy := startProxy(t, store)
	files := newFiles(t)
	wishes := []wish{{version: 1, partitions: 3}, {version: 1, partitions: 2}}
	change := func(version int) {
		for i := range wishes {
			wishes[i].version = version
			wishes[i].write(t, files, i)
		}
	}
	change(1)
	daemon := startDaemon(t, proxy.URL, files)
	crms, db := startCRMs(t, store, crm.Options{}), openLedger(t, store)
	runsWhatIsAsked(t, patience, crms, wishes)
	recorded(t, patience, db, wishes)
	before := daemon.metric("go_goroutines")

	faults := []struct {
		name        string
		begin, heal func()
	}{
		{"latency of 100 ms", func() { proxy.delay.Store(int64(100 * time.Millisecond)) }, func() { proxy.delay.Store(0) }},
		{"answers at 2 kB/s", func() { proxy.rate.Store(2000) }, func() { proxy.rate.Store(0) }},
		{"half-open connections", func() { proxy.hole.Store(true) }, func() { proxy.hole.Store(false) }},
		{"cuts every 50 ms", nil, nil},
	}
	for n, f := range faults {
		if f.begin == nil {
			var stop func()
			f.begin = func() { stop = proxy.cutting(50 * time.Millisecond) }
			f.heal = func() { stop() }
		}
		used := daemon.metric("process_cpu_seconds_total")
		f.begin()
		began := time.Now()
		change(n + 2)
		time.Sleep(lasts)
		cpu := (daemon.metric("process_cpu_seconds_total") - used) / time.Since(began).Seconds()
		f.heal()
		healed := time.Now()
		runsWhatIsAsked(t, recovery, crms, wishes)
		recorded(t, recovery, db, wishes)
		t.Logf("%s: %.0f%% of a core; all is well %s later; %d connections", f.name, 100*cpu, time.Since(healed).Round(time.Millisecond), proxy.open())
		if cpu > mostCPU {
			t.Errorf("%s: the daemon used %.2f of a core, more than %v", f.name, cpu, mostCPU)
		}
	}
	const slack = 8 // idle connections and timers come and go
	var after float64
	took := within(t, patience, "no goroutine is left behind", func() string {
		if after = daemon.metric("go_goroutines"); after > before+slack {
			return "there are more than before"
		}
		return ""
	})
	t.Logf("goroutines before %.0f, after %.0f (%s later)", before, after, took.Round(time.Millisecond))
}
