package notify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/notify"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

var commit = strings.Repeat("0123abcd", 5)

// A forge remembers what it was asked, and answers as it is told to.
type forge struct {
	*httptest.Server
	mu      sync.Mutex
	asked   []string // "METHOD PATH authorization body"
	headers []http.Header
	bodies  []string
	answers []int // then 201
	retry   string
}

func newForge(t *testing.T, answers ...int) *forge {
	t.Helper()
	f := &forge{answers: answers}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		defer f.mu.Unlock()
		auth := r.Header.Get("Authorization") + r.Header.Get("Private-Token")
		f.asked = append(f.asked, strings.Join([]string{r.Method, r.URL.EscapedPath(), auth, string(body)}, " | "))
		f.headers, f.bodies = append(f.headers, r.Header), append(f.bodies, string(body))
		code := http.StatusCreated
		if len(f.answers) > 0 {
			code, f.answers = f.answers[0], f.answers[1:]
		}
		if f.retry != "" {
			w.Header().Set("Retry-After", f.retry)
		}
		w.WriteHeader(code)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *forge) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.asked...)
}

// A desk runs a notifier for one target of source main.
type desk struct {
	*notify.Notifier
	log  strings.Builder
	mu   sync.Mutex
	sent []string
	stop func()
}

func newDesk(t *testing.T, o notify.Options) *desk {
	t.Helper()
	d := &desk{}
	d.Notifier = &notify.Notifier{Log: slog.New(slog.NewTextHandler(&d.log, nil)), Sent: func(kind string, err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.sent = append(d.sent, fmt.Sprint(kind, " ", err == nil))
	}}
	if err := d.Add("main", o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(d.stop)
	return d
}

func eventually[T any](t *testing.T, want T, got func() T) {
	t.Helper()
	for range 500 {
		if cmp.Equal(want, got()) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("within 5s: -want +got\n%s", cmp.Diff(want, got()))
}

func TestForges(t *testing.T) {
	o := notify.Outcome{Source: "main", Revision: commit, State: notify.Failure, Message: "shop.yaml:3:1:\n  E002"}
	for kind, want := range map[string]string{
		"github": "POST | /repos/acme/shop/statuses/" + commit + ` | Bearer t0ken | {"context":"oprc/main","description":"shop.yaml:3:1: E002","state":"failure"}`,
		"gitlab": "POST | /projects/acme%2Fshop/statuses/" + commit + ` | t0ken | {"description":"shop.yaml:3:1: E002","name":"oprc/main","state":"failed"}`,
		"gitea":  "POST | /repos/acme/shop/statuses/" + commit + ` | token t0ken | {"context":"oprc/main","description":"shop.yaml:3:1: E002","state":"failure"}`,
	} {
		for _, url := range []string{"https://git.example/acme/shop.git", "git@git.example:acme/shop.git", "ssh://git@git.example:2222/acme/shop"} {
			t.Run(kind+" "+url, func(t *testing.T) {
				f := newForge(t)
				d := newDesk(t, notify.Options{Type: kind, URL: f.URL, Repository: url, Token: "t0ken"})
				d.Tell(o)
				d.Tell(o)                                                             // the same again is no news
				d.Tell(notify.Outcome{Source: "another", Revision: commit})           // nobody asked for
				d.Tell(notify.Outcome{Source: "main", Revision: "dev", Message: "x"}) // no commit
				d.stop()
				if diff := cmp.Diff([]string{want}, f.seen()); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestWebhookIsSigned(t *testing.T) {
	f := newForge(t)
	d := newDesk(t, notify.Options{Type: "webhook", URL: f.URL + "/hook", Secret: "s3cret"})
	want := notify.Outcome{
		Source: "main", Revision: commit, State: notify.Success, Message: "done", PlanID: "sha256:1",
		Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
	d.Tell(want)
	d.stop()
	if len(f.bodies) != 1 {
		t.Fatalf("%d requests", len(f.bodies))
	}
	var got notify.Outcome
	if err := json.Unmarshal([]byte(f.bodies[0]), &got); err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v: %s", err, cmp.Diff(want, got))
	}
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte(f.bodies[0]))
	h := f.headers[0]
	if h.Get("X-Oprc-Signature") != "sha256="+hex.EncodeToString(mac.Sum(nil)) || h.Get("X-Oprc-Delivery") == "" || h.Get("X-Oprc-Event") != "outcome" {
		t.Errorf("headers: %v", h)
	}
}

func TestTriedAgainUntilItIsTaken(t *testing.T) {
	f := newForge(t, 500, 503, 429)
	f.retry = "0"
	began := time.Now()
	d := newDesk(t, notify.Options{Type: "github", URL: f.URL, Repository: "https://x/a/b", Token: "t"})
	d.Tell(notify.Outcome{Source: "main", Revision: commit, State: notify.Success})
	eventually(t, []string{"github true"}, func() []string { d.mu.Lock(); defer d.mu.Unlock(); return d.sent })
	if n := len(f.seen()); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("four tries within %s: Retry-After 0 made a hot loop", took)
	}
}

func TestRefusedOnceAndForAll(t *testing.T) {
	f := newForge(t, 404)
	d := newDesk(t, notify.Options{Type: "gitea", URL: f.URL, Repository: "https://x/a/b", Token: "t0psecret"})
	d.Tell(notify.Outcome{Source: "main", Revision: commit, State: notify.Success})
	eventually(t, []string{"gitea false"}, func() []string { d.mu.Lock(); defer d.mu.Unlock(); return d.sent })
	d.stop()
	if n := len(f.seen()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	if text := d.log.String(); !strings.Contains(text, "404") || strings.Contains(text, "t0psecret") {
		t.Errorf("log: %s", text)
	}
}

// While a forge is slow, what is outrun is not sent.
func TestTheLastWordOnARevisionCounts(t *testing.T) {
	f := newForge(t, 500)
	d := newDesk(t, notify.Options{Type: "github", URL: f.URL, Repository: "https://x/a/b", Token: "t"})
	other := strings.Repeat("f", 40)
	d.Tell(notify.Outcome{Source: "main", Revision: other, State: notify.Success})
	eventually(t, 1, func() int { return len(f.seen()) }) // waiting for its second try
	for _, s := range []notify.State{notify.Pending, notify.Failure, notify.Success} {
		d.Tell(notify.Outcome{Source: "main", Revision: commit, State: s})
	}
	d.stop()
	got := f.seen()
	if len(got) != 3 || !strings.Contains(got[1], other) || !strings.Contains(got[2], commit) || !strings.Contains(got[2], "success") {
		t.Errorf("got %s", strings.Join(got, "\n"))
	}
}

func TestBadOptions(t *testing.T) {
	good := notify.Options{Type: "github", Repository: "https://git.example/a/b", Token: "t"}
	for name, tc := range map[string]struct {
		change func(*notify.Options)
		want   string
	}{
		"no type":                  {func(o *notify.Options) { o.Type = "" }, "github, gitlab, gitea, webhook"},
		"no token":                 {func(o *notify.Options) { o.Token = "" }, "tokenEnv"},
		"a directory":              {func(o *notify.Options) { o.Repository = "/srv/repo" }, "names no repository"},
		"a webhook without secret": {func(o *notify.Options) { o.Type, o.URL = "webhook", "https://x/y" }, "secretEnv"},
		"a webhook to nowhere":     {func(o *notify.Options) { o.Type, o.Secret = "webhook", "s" }, "http or https"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			tc.change(&o)
			if err := new(notify.Notifier).Add("main", o); !errors.Is(err, oprc.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestBegun(t *testing.T) {
	changes := &plan.Plan{ID: "p", Changes: []plan.Change{{}}}
	bad := &plan.Plan{Changes: []plan.Change{{}}, Diagnostics: oprc.Diagnostics{{Code: "E002", Severity: oprc.SeverityError}}}
	for name, tc := range map[string]struct {
		step loop.Step
		want bool
	}{
		"planned":       {loop.Step{Plan: changes}, true},
		"applied":       {loop.Step{Plan: changes, Result: &reconcile.Result{}}, false},
		"nothing to do": {loop.Step{Plan: &plan.Plan{}}, false},
		"with findings": {loop.Step{Plan: bad}, false},
		"failed":        {loop.Step{Plan: changes, Err: oprc.ErrHeld}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if o, ok := notify.Begun(tc.step, time.Now()); ok != tc.want || ok && o.State != notify.Pending {
				t.Errorf("got %+v %v, want %v", o, ok, tc.want)
			}
		})
	}
}

func TestOutcomeOf(t *testing.T) {
	changes := &plan.Plan{ID: "p", Changes: []plan.Change{{}}, Summary: plan.Summary{Create: 2, Commands: plan.CommandCounts{Deploy: 3}}}
	rev := loop.Revision{ID: "b"}
	not := func(reason string) oprc.SourceCondition {
		return oprc.SourceCondition{Reason: reason, Message: "kept", Revision: "a"}
	}
	good := oprc.SourceCondition{Status: true, Reason: "Applied", Revision: "b"}
	for name, tc := range map[string]struct {
		step  loop.Step
		ready oprc.SourceCondition
		want  string
	}{
		"applied":     {loop.Step{Revision: rev, Plan: changes, Result: &reconcile.Result{}}, good, "b success Applied 2 created, 0 updated, 0 deleted; 3 commands"},
		"in sync":     {loop.Step{Revision: rev, Plan: &plan.Plan{}}, good, "b success Applied nothing to change"},
		"recovered":   {loop.Step{}, good, "b success Applied nothing to change"},
		"invalid":     {loop.Step{Revision: rev, Err: errors.New("E002")}, not("InvalidPackages"), "b failure InvalidPackages E002"},
		"held":        {loop.Step{Revision: rev, Plan: changes, Result: &reconcile.Result{}, Err: oprc.ErrHeld}, not("ApprovalNeeded"), "b failure ApprovalNeeded held"},
		"taken over":  {loop.Step{}, not("ApprovalNeeded"), "a failure ApprovalNeeded kept"},
		"unreachable": {loop.Step{Err: errors.New("no route")}, not("Unreachable"), " error Unreachable no route"},
		"tried again": {loop.Step{Revision: rev, Err: errors.New("no space")}, not("ApplyFailed"), "b error ApplyFailed no space"},
	} {
		t.Run(name, func(t *testing.T) {
			o := notify.OutcomeOf(tc.step, tc.ready, time.Now())
			if got := fmt.Sprintf("%s %s %s %s", o.Revision, o.State, o.Reason, o.Message); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
