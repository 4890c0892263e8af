package cli_test

import (
	"context"
	"strings"
	"testing"
)

// What was applied before and does not run yet is waited for; status says how far it
// is, and a restart sends every unit again.
func TestStatusAndRestart(t *testing.T) {
	u := newUser(t)
	file := u.file("shop.yaml", shop)
	u.must("apply", "-f", file)
	if got := u.run("apply", "-f", file, "--wait", "--timeout", "300ms"); got.code != 7 || !strings.Contains(got.err, "shop.cart/0/0@local is PENDING") {
		t.Errorf("apply --wait of what does not run: %+v, want exit 7", got)
	}
	if got := u.run("status", "shop", "--wait", "--timeout", "300ms"); got.code != 7 || !strings.Contains(got.out, "PENDING, 0 of 2 units run") {
		t.Errorf("status --wait of what does not run: %+v, want exit 7", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan result)
	go func() { done <- u.runContext(ctx, "", "crm", "run", "--env", "local", "--start-delay", "10ms") }()
	u.must("apply", "-f", file, "--wait", "--timeout", "2m")
	if got := u.must("status", "shop.cart"); got != "deployment shop.cart: RUNNING, 2 of 2 units run\n" {
		t.Errorf("status: %q", got)
	}
	u.must("rollout", "restart", "deployment/shop.cart", "--wait", "--timeout", "2m")
	got := u.must("get", "units", "--no-headers")
	if n := strings.Count(got, "RUNNING"); n != 2 || strings.Count(got, "   2   ") != 2 {
		t.Errorf("units after a restart, want both RUNNING under generation 2:\n%s", got)
	}
	if got := u.must("history", "shop"); !strings.Contains(got, "restart") || !strings.Contains(got, "ada") {
		t.Errorf("history does not say who restarted it:\n%s", got)
	}
	stop()
	if got := <-done; got.code != 0 {
		t.Errorf("the CRM: %+v", got)
	}
	if got := u.run("status", "shpo"); got.code != 6 || !strings.Contains(got.err, "Did you mean shop?") {
		t.Errorf("status of a wrong name: %+v", got)
	}
}

// What was deleted is not merely unknown.
func TestDeletedIsExplained(t *testing.T) {
	u := newUser(t)
	file := u.file("shop.yaml", shop)
	u.must("apply", "-f", file)
	u.file("shop.yaml", strings.Split(shop, "deployments:")[0])
	u.must("apply", "-f", file, "--yes")
	for _, args := range [][]string{{"why", "shop.cart"}, {"describe", "deployment", "shop.cart"}, {"why", "shop.cart/0/0@nowhere"}, {"status", "shop.cart"}} {
		got := u.run(args...)
		if got.code != 6 || !strings.Contains(got.err, "was deleted at ") || !strings.Contains(got.err, "by ada, in revision 2 of its package") ||
			!strings.Contains(got.err, "oprc diff shop --from 1 --to 2") {
			t.Errorf("%v: %+v", args, got)
		}
	}
	u.must("delete", "package", "shop", "--yes")
	for _, args := range [][]string{{"why", "shop"}, {"describe", "package", "shop"}, {"get", "package", "shop"}, {"status", "shop"}} {
		got := u.run(args...)
		if got.code != 6 || !strings.Contains(got.err, "package shop was deleted at ") || !strings.Contains(got.err, "oprc undo shop brings it back") {
			t.Errorf("%v: %+v", args, got)
		}
	}
	if got := u.run("why", "never"); got.code != 6 || strings.Contains(got.err, "deleted") {
		t.Errorf("what never was: %+v", got)
	}
}

func TestNothingToDoIsNotFound(t *testing.T) {
	u := newUser(t)
	file := u.file("empty.yaml", "# only a comment\n")
	for _, args := range [][]string{{"validate"}, {"plan"}, {"apply"}, {"apply", "--dry-run"}} {
		if got := u.run(append(args, "-f", file)...); got.code != 6 || !strings.Contains(got.err, "no package and no environment") {
			t.Errorf("%v: %+v, want exit 6", args, got)
		}
	}
}

// doctor names everything for which serve would not start.
func TestDoctorFindsWhatServeRefuses(t *testing.T) {
	u := newUser(t)
	config := u.file("oprc.yaml", `listen: 0.0.0.0
sources:
- {name: main, url: ./nowhere}
policies: [nothing.cue]
environments:
- {name: edge, availability: 7}
`)
	got := u.run("doctor", "--config", config)
	for _, want := range []string{"nowhere", "nothing.cue", "would answer everybody on 0.0.0.0", "availability"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("doctor says nothing of %q: %+v", want, got)
		}
	}
	if got.code == 0 {
		t.Error("doctor ends with 0")
	}
}

// Whoever uses a context without thinking of it is told which one failed.
func TestErrorsNameTheContext(t *testing.T) {
	u := newUser(t)
	u.must("context", "set", "prod", "--redis", "redis://127.0.0.1:1/0")
	u.must("context", "use", "prod")
	if got := u.run("get", "packages"); got.code != 8 || !strings.Contains(got.err, "context prod: ") {
		t.Errorf("%+v", got)
	}
}
