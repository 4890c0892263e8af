package workload_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ptr(n int) *int { return &n }

func TestOf(t *testing.T) {
	unset := workload.Scale{Min: -1, Max: -1, Concurrency: -1, TargetConcurrency: -1}
	tests := map[string]struct {
		engine crm.Provision
		config crm.FunctionConfig
		want   workload.Workload
	}{
		"a container and nothing more": {
			engine: crm.Provision{Docker: &crm.Docker{Image: "i:1"}},
			want:   workload.Workload{Port: 8080, Scale: unset},
		},
		"config over provision": {
			engine: crm.Provision{Docker: &crm.Docker{Image: "i:1", Port: ptr(-1), Env: crm.Env{"A": {Text: "engine"}, "B": {Text: "engine"}}}},
			config: crm.FunctionConfig{Env: crm.Env{"B": {Text: "config"}}, APIPath: "v2", Timeout: 1500, Custom: map[string]string{"healthPath": "/up"}},
			want: workload.Workload{
				Port: 8080, Env: crm.Env{"A": {Text: "engine"}, "B": {Text: "config"}}, APIPath: "/v2",
				Timeout: 1500 * time.Millisecond, Probe: workload.Probe{Path: "/up"}, Scale: unset,
			},
		},
		"cpu and memory are the limit, and the request where there is no other": {
			engine: crm.Provision{Knative: &crm.Knative{
				Port: ptr(9000), CPU: "100m", Memory: "64Mi", RequestsCPU: "50m", LimitsMemory: "128Mi", MinScale: ptr(0), MaxScale: ptr(-1),
				Concurrency: ptr(5), ScaleDownDelay: "90", APIPath: "/api", PullPolicy: "Always",
			}},
			want: workload.Workload{
				Port: 9000, Requests: workload.Resources{CPU: "50m", Memory: "64Mi"}, Limits: workload.Resources{CPU: "100m", Memory: "128Mi"},
				Scale:   workload.Scale{Min: 0, Max: -1, Concurrency: 5, TargetConcurrency: -1, DownDelay: 90 * time.Second},
				APIPath: "/api", PullPolicy: "Always", Knative: true,
			},
		},
		"replica is minimum and maximum": {
			engine: crm.Provision{Deployment: &crm.KubeWorkload{Replica: ptr(3), LimitsCPU: "-1", LimitsMemory: "1Gi"}},
			want: workload.Workload{
				Port: 8080, Limits: workload.Resources{Memory: "1Gi"}, Scale: workload.Scale{Min: 3, Max: 3, Concurrency: -1, TargetConcurrency: -1},
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u := crm.Unit{
				ID: "shop.cart/1/2@edge", ClsKey: "shop.cart", PartitionInfo: crm.PartitionInfo{PartitionID: 1, ReplicaID: 2},
				Provision: map[string]crm.Provision{"shop.add": tt.engine},
			}
			want := tt.want
			want.Unit, want.Function, want.Image = u.ID, "shop.add", "i:1"
			if want.Env == nil {
				want.Env = crm.Env{}
			}
			for k, v := range map[string]string{
				"OPRC_UNIT": u.ID, "OPRC_CLASS": "shop.cart", "OPRC_FUNCTION": "shop.add", "OPRC_PARTITION": "1", "OPRC_REPLICA": "2",
			} {
				want.Env[k] = crm.EnvValue{Text: v}
			}
			got, err := workload.Of(u, crm.Function{Key: "shop.add", Image: "i:1", Config: tt.config})
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestOfRefusesWhatCannotRun(t *testing.T) {
	for name, p := range map[string]crm.Provision{
		"quantity": {Knative: &crm.Knative{CPU: "many"}},
		"delay":    {Knative: &crm.Knative{ScaleDownDelay: "soon"}},
		"variable": {Docker: &crm.Docker{Env: crm.Env{"A=B": {}}}},
	} {
		_, err := workload.Of(crm.Unit{Provision: map[string]crm.Provision{"f": p}}, crm.Function{Key: "f"})
		if !errors.Is(err, crm.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}

func TestResources(t *testing.T) {
	r := workload.Resources{CPU: "250m", Memory: "64Mi"}
	if r.NanoCPUs() != 250_000_000 || r.Bytes() != 64<<20 {
		t.Errorf("got %d and %d", r.NanoCPUs(), r.Bytes())
	}
}

func TestNamesAreLabelsAndDiffer(t *testing.T) {
	label := regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)
	value := regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`)
	seen := map[string][]string{}
	for _, parts := range [][]string{
		{"shop.cart/0/1@edge", "shop.add"},
		{"shop.cart/0/1@edge", "shop-add"},
		{"shop.cart/0/1@edge", "shop.Add"},
		{"shop.cart/0/1@edge-shop", "add"},
		{"shop.cart/01@edge"},
		{strings.Repeat("long.", 60) + "/0/0@edge", "a"},
		{strings.Repeat("long.", 60) + "/0/0@edge", "b"},
		{"9/0/0@edge"},
		{""},
		{"..."},
		{"ü"},
	} {
		name := workload.Name(parts...)
		if !label.MatchString(name) {
			t.Errorf("%q: %q is no DNS label", parts, name)
		}
		if other, taken := seen[name]; taken {
			t.Errorf("%q and %q are both %q", parts, other, name)
		}
		seen[name] = parts
		if v := workload.LabelValue(parts[0]); !value.MatchString(v) {
			t.Errorf("%q: %q is no label value", parts[0], v)
		}
	}
	if got := workload.LabelValue("shop.cart"); got != "shop.cart" {
		t.Errorf("a possible value became %q", got)
	}
	if got := workload.Name("shop.cart/0/1@edge", "shop.add"); got != workload.Name("shop.cart/0/1@edge", "shop.add") || !strings.HasPrefix(got, "shop-cart-0-1-edge-shop-add-") {
		t.Errorf("name: %q", got)
	}
}

func TestSecretsStayInTheirDirectory(t *testing.T) {
	dir := t.TempDir()
	secrets := workload.SecretDir(filepath.Join(dir, "secrets"))
	for _, d := range []string{"secrets/db", "other"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"secrets/db/pw", "other/pw"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "other"), filepath.Join(dir, "secrets", "link")); err != nil {
		t.Fatal(err)
	}
	if got, err := secrets(t.Context(), crm.SecretKeyRef{Name: "db", Key: "pw"}); got != "x" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, ref := range []crm.SecretKeyRef{{Name: "..", Key: "other"}, {Name: "db", Key: "../../other/pw"}, {Name: "link", Key: "pw"}, {Name: "db", Key: "no"}} {
		if got, err := secrets(t.Context(), ref); err == nil {
			t.Errorf("%+v: got %q", ref, got)
		}
	}
}

// A server is an instance in this process.
type server struct {
	*httptest.Server
	name  string
	ended chan error
	stops *atomic.Int32
}

func (s *server) Name() string { return s.name }
func (s *server) URL() string  { return s.Server.URL }
func (s *server) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-s.ended:
		return err
	}
}
func (s *server) Stop(context.Context, time.Duration) { s.Close(); s.stops.Add(1) }

// A fleet starts servers.
type fleet struct {
	broken  atomic.Bool
	stops   atomic.Int32
	started chan *server
}

func (f *fleet) Start(context.Context) (workload.Instance, error) {
	if f.broken.Load() {
		return nil, errors.New("no such image")
	}
	s := &server{name: "s", ended: make(chan error, 1), stops: &f.stops, Server: httptest.NewServer(http.NotFoundHandler())}
	f.started <- s
	return s, nil
}

func wanted(f *fleet, digest string) []workload.Wanted {
	return []workload.Wanted{{Workload: workload.Workload{Function: "f"}, Starter: f, Digest: digest}}
}

// What is replaced serves until its successor does, and for as long as the successor
// cannot.
func TestOldServesUntilNewAnswers(t *testing.T) {
	g := &workload.Group{Patience: workload.Patience{Probe: 20 * time.Millisecond}}
	one, two := &fleet{started: make(chan *server, 9)}, &fleet{started: make(chan *server, 9)}
	states := make(chan crm.State, 99)
	report := func(st crm.State) bool { states <- st; return true }
	st, err := g.Replace(t.Context(), wanted(one, "1"), nil, report)
	if err != nil || st.Condition != crm.Running {
		t.Fatalf("got %+v, %v", st, err)
	}
	url := st.Functions["f"].InvocationURL
	two.broken.Store(true)
	st, err = g.Replace(t.Context(), wanted(two, "2"), nil, report)
	if err != nil || st.Condition != crm.Down || st.Functions["f"].InvocationURL != url || one.stops.Load() != 0 {
		t.Fatalf("got %+v, %v, %d stopped: want it to be down and the first to serve", st, err, one.stops.Load())
	}
	two.broken.Store(false)
	for st.Functions["f"].InvocationURL == url { // the first states may have come late
		st = <-states
	}
	if now := (<-two.started).URL(); st.Functions["f"].InvocationURL != now {
		t.Errorf("calls go to %s, want %s", st.Functions["f"].InvocationURL, now)
	}
	g.Remove()
	if one.stops.Load() != 1 || two.stops.Load() != 1 {
		t.Errorf("stopped: %d and %d, want 1 and 1", one.stops.Load(), two.stops.Load())
	}
}

func TestSameDigestGoesOnAndAnEndIsNoticed(t *testing.T) {
	g := &workload.Group{}
	f := &fleet{started: make(chan *server, 9)}
	states := make(chan crm.State, 99)
	report := func(st crm.State) bool { states <- st; return true }
	for range 2 {
		if st, err := g.Replace(t.Context(), wanted(f, "1"), map[string]crm.FunctionStatus{"far": {Condition: crm.Running}}, report); err != nil || len(st.Functions) != 2 {
			t.Fatalf("got %+v, %v", st, err)
		}
	}
	first := <-f.started
	if len(f.started) != 0 {
		t.Error("it was started again")
	}
	first.ended <- errors.New("killed")
	if st := <-states; st.Condition != crm.Down || st.ErrorMsg != "f: killed" {
		t.Errorf("got %+v", st)
	}
	if st := <-states; st.Condition != crm.Running {
		t.Fatalf("got %+v", st)
	}
	g.Leave()
	if f.stops.Load() != 1 {
		t.Errorf("%d were stopped, want only the one that ended", f.stops.Load())
	}
	(<-f.started).Close()
}

// What changed before anybody followed is reported to who follows.
func TestFollowTellsWhatHasChanged(t *testing.T) {
	g := &workload.Group{}
	defer g.Remove()
	f := &fleet{started: make(chan *server, 9)}
	st, err := g.Replace(t.Context(), wanted(f, "1"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	(<-f.started).ended <- errors.New("killed")
	<-f.started
	states := make(chan crm.State, 99)
	g.Follow(func(st crm.State) bool { states <- st; return true })
	if now := <-states; reflect.DeepEqual(now, st) {
		t.Errorf("got %+v again", now)
	}
}

func TestProbe(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/up" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer web.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept() // as a port that is published before anybody listens behind it
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	for name, tt := range map[string]struct {
		probe workload.Probe
		base  string
		up    bool
	}{
		"any answer":           {workload.Probe{}, web.URL, true},
		"health path":          {workload.Probe{Path: "/up"}, web.URL, true},
		"wrong health path":    {workload.Probe{Path: "/down"}, web.URL, false},
		"accepted and dropped": {workload.Probe{}, "http://" + l.Addr().String(), false},
		"refused":              {workload.Probe{}, "http://127.0.0.1:1", false},
	} {
		if err := tt.probe.Ready(t.Context(), tt.base); (err == nil) != tt.up {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
