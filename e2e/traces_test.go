package e2e_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// A span as a collector got it.
type gotSpan struct {
	name, trace, id, parent string
	attributes              map[string]string
}

// spanCollector takes OTLP over HTTP.
type spanCollector struct {
	URL string

	mu      sync.Mutex
	spans   []gotSpan
	service string // of the resource
	auth    string // header of the last request
}

func newSpanCollector(t *testing.T) *spanCollector {
	t.Helper()
	c := &spanCollector{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.take(r); err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	c.URL = s.URL
	return c
}

func (c *spanCollector) take(r *http.Request) error {
	if r.URL.Path != "/v1/traces" {
		return fmt.Errorf("not the path of traces")
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return err
		}
		body = z
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var got collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(raw, &got); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.auth = r.Header.Get("Authorization")
	for _, of := range got.ResourceSpans {
		for _, kv := range of.Resource.Attributes {
			if kv.Key == "service.name" {
				c.service = kv.Value.GetStringValue()
			}
		}
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				g := gotSpan{s.Name, fmt.Sprintf("%x", s.TraceId), fmt.Sprintf("%x", s.SpanId), fmt.Sprintf("%x", s.ParentSpanId), map[string]string{}}
				for _, kv := range s.Attributes {
					g.attributes[kv.Key] = kv.Value.GetStringValue()
				}
				c.spans = append(c.spans, g)
			}
		}
	}
	return nil
}

// chain returns the names from a root down to a report that a unit is RUNNING and the trace
// they are of, or "" as long as there is none with an attribute of the root.
func (c *spanCollector) chain(unit, attribute, value string) (names []string, trace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	byID := map[string]gotSpan{}
	for _, s := range c.spans {
		byID[s.id] = s
	}
	for _, s := range c.spans {
		if s.name != "report" || s.attributes["oprc.unit"] != unit || s.attributes["oprc.condition"] != "RUNNING" {
			continue
		}
		names, root := []string{s.name}, s
		for above, known := byID[root.parent]; known && above.trace == s.trace; above, known = byID[root.parent] {
			root, names = above, append(names, above.name)
		}
		if slices.Reverse(names); root.attributes[attribute] == value {
			return names, s.trace
		}
	}
	return nil, ""
}

// has reports whether a span of a trace was taken.
func (c *spanCollector) has(name, trace string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.spans, func(s gotSpan) bool { return s.name == name && s.trace == trace })
}

// One trace goes from a request, or from the tick of a source with its commit, over the commit
// and the command to the report that answers it: a real daemon, a CRM of the SDK, a collector.
func TestTraces(t *testing.T) {
	t.Parallel()
	url, to, files := rdbtest.Server(t), newSpanCollector(t), t.TempDir()
	declare(t, files, "edge")
	d := serve(t, fmt.Sprintf("logLevel: DEBUG\nredis: {url: %q}\ntraces: {endpoint: 'http://127.0.0.1:1'}\nsources: [{name: files, url: %q, interval: 1s}]\n", url, files),
		"OTEL_EXPORTER_OTLP_ENDPOINT="+to.URL, "OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20canary", "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_SERVICE_NAME=oprc-test")
	startCRM(t, url, "edge", crm.Options{})
	doc := func(name string) string {
		return fmt.Sprintf("name: %s\nclasses: [{name: c, functions: [{name: f, function: .f}]}]\nfunctions: [{name: f, provision: {knative: {image: x/f:1}}}]\ndeployments: [{_key: .c, targetEnvs: [edge]}]\n", name)
	}
	if err := os.WriteFile(filepath.Join(files, "git.yaml"), []byte(doc("git")), 0o600); err != nil {
		t.Fatal(err)
	}
	within(t, patience, "the tick of a source ends in a report", func() string {
		names, _ := to.chain("git.c/0/0@edge", "oprc.source", "files")
		if got := strings.Join(names, " > "); got != "tick > dispatch > report" {
			return "there is " + got
		}
		return ""
	})

	const asked = "0af7651916cd43dd8448eb211c80319c"
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+d.addr+"/packages", strings.NewReader(doc("sent")))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/yaml")
	r.Header.Set("Traceparent", "00-"+asked+"-b7ad6b7169203331-01")
	r.Header.Set("X-Request-Id", "mine")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusCreated || res.Header.Get("X-Request-Id") != "mine" {
		t.Fatalf("got %d %v", res.StatusCode, res.Header)
	}
	within(t, patience, "the request ends in a report", func() string {
		names, trace := to.chain("sent.c/0/0@edge", "oprc.request", "mine")
		if got := strings.Join(names, " > "); got != "POST /packages > dispatch > report" || trace != asked || !to.has("commit", asked) {
			return fmt.Sprintf("there is %s of %s", got, trace)
		}
		return ""
	})
	within(t, patience, "the line of the log names the trace", func() string {
		for line := range strings.Lines(d.log.last(1 << 20)) {
			if strings.Contains(line, "id=mine") && strings.Contains(line, "trace="+asked) {
				return ""
			}
		}
		return "no such line"
	})
	to.mu.Lock()
	defer to.mu.Unlock()
	if to.service != "oprc-test" || to.auth != "Bearer canary" {
		t.Errorf("service %q, authorization %q", to.service, to.auth)
	}
	if strings.Contains(d.log.last(1<<20), "canary") {
		t.Error("the log has the collector's token")
	}
}
