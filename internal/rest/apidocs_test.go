package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/rest"
)

// docs/api.md works as it is written, command by command, what it shows of answers is in
// them, and no route of the document is left out.
func TestDocsOfTheAPI(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "curl", "jq", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	w := docsWorld(t)
	var mu sync.Mutex
	asked := map[string]bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.Method+" "+r.URL.Path] = true
		mu.Unlock()
		if r.URL.Path == "/watch" { // it would last
			ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
			defer cancel()
			r = r.WithContext(ctx)
		}
		w.handler.ServeHTTP(rw, r)
	}))
	t.Cleanup(srv.Close)
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	script := curls
	answer, dir := "", t.TempDir()
	for _, block := range regexp.MustCompile("(?ms)^```(sh|json)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		if block[1] == "json" {
			shows(t, block[2], answer)
			continue
		}
		script += strings.ReplaceAll(block[2], "http://localhost:8080", srv.URL)
		answer = shell(t, dir, script, block[2])
		script = curls + "url=" + srv.URL + "\n"
	}
	var doc document
	if err := json.Unmarshal([]byte(w.want(w.get("/openapi.json"), 200).body), &doc); err != nil {
		t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		shape := regexp.MustCompile("^" + regexp.MustCompile(`\\\{\w+\\\}`).ReplaceAllString(regexp.QuoteMeta(path), ".+") + "$")
		for method := range methods {
			shown := false
			for request := range asked {
				m, p, _ := strings.Cut(request, " ")
				shown = shown || strings.EqualFold(m, method) && shape.MatchString(p)
			}
			if !shown {
				t.Errorf("docs/api.md does not show %s %s", strings.ToUpper(method), path)
			}
		}
	}
}

// curls is curl with its status on stderr.
const curls = `set -euo pipefail
curl() {
  command curl -sS -w '%{stderr}%{http_code}\n' "$@"
}
`

// docsWorld has a source, and a CRM that knows of a class.
func docsWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, func(s *rest.Server) {
		control := s.Control.(state)
		s.Access.Stored = control.DB
		s.Hooks = map[string]rest.Hook{"main": {Secrets: []string{"hush"}, Wake: func() error { return nil }}}
		s.Preview = func(ctx context.Context, source, _ string) (*rest.SourcePlan, error) {
			p, err := control.Plan(ctx, reconcile.Request{Scope: plan.Scope{Origin: "git:" + source}})
			return &rest.SourcePlan{Revision: "4f0c1d2", Plan: p}, err
		}
	})
	now := time.Now()
	if err := w.state.PutSource(t.Context(), oprc.SourceStatus{Name: "main", URL: "https://git.example/x", Rules: &oprc.SourceRules{}}, nil, 0); err != nil {
		t.Fatal(err)
	}
	ended := t.Context()
	beat := func() error {
		return w.state.Heartbeat(ended, "east", []oprc.Heartbeat{{CRM: "crm-1", Time: time.Now(), Since: now}})
	}
	if err := beat(); err != nil {
		t.Fatal(err)
	}
	go func() { // a page takes longer than a heartbeat counts where the machine is busy
		for {
			select {
			case <-ended.Done():
				return
			case <-time.After(oprc.HeartbeatInterval):
				_ = beat()
			}
		}
	}()
	runtime := oprc.ClassRuntime{
		Key: "shop.cart@east", ClsKey: "shop.cart", Env: "east", Status: oprc.RuntimeRunning, LastUpdate: now.Add(-time.Hour),
		Partitions: []oprc.RuntimePartition{{ID: 0, Replicas: []string{"node-0"}, Time: now.Add(-time.Hour)}},
	}
	if _, err := w.state.Fold(t.Context(), "east", []ingest.StatusWrite{}, []oprc.ClassRuntime{runtime}, nil); err != nil {
		t.Fatal(err)
	}
	return w
}

// shell runs a script, and returns the last line that it wrote. What curl was answered with
// must be good, unless the answer is shown.
func shell(t *testing.T, dir, script, block string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Dir, cmd.WaitDelay = dir, time.Minute
	cmd.Env = append(os.Environ(), "WEBHOOK_SECRET=hush")
	var out, status bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &status
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s%s", err, block, out.String(), status.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	last := lines[len(lines)-1]
	for code := range strings.FieldsSeq(status.String()) {
		if code >= "400" && !strings.Contains(last, `"status":`+code) {
			t.Errorf("an answer is %s:\n%s\n%s", code, block, clipped(out.String()))
		}
	}
	return last
}

// shows fails unless what is shown is in the answer: each member, each item in its order,
// and each text, which may be cut off by "…".
func shows(t *testing.T, shown, answer string) {
	t.Helper()
	var want, got any
	if err := json.Unmarshal([]byte(shown), &want); err != nil {
		t.Fatalf("%v: %s", err, shown)
	}
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	if !within(want, got) {
		t.Errorf("docs/api.md shows\n%sthe answer is\n%s", shown, answer)
	}
}

func within(want, got any) bool {
	switch want := want.(type) {
	case map[string]any:
		object, is := got.(map[string]any)
		for name, v := range want {
			is = is && within(v, object[name])
		}
		return is
	case []any:
		list, is := got.([]any)
		is = is && len(list) >= len(want)
		for i := 0; is && i < len(want); i++ {
			is = within(want[i], list[i])
		}
		return is
	case string:
		text, is := got.(string)
		begin, cut := strings.CutSuffix(want, "…")
		return is && (text == want || cut && strings.HasPrefix(text, begin))
	}
	return want == got
}
