package cli_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const shop = `name: shop
functions:
- name: add
  provision: {docker: {image: "img:1", env: {API_TOKEN: s3cr3t}}}
classes:
- name: cart
  functions: [{function: .add}]
deployments:
- {_key: .cart, partitionCount: 2, replicaCount: 1, targetEnvs: [local]}
`

// A package goes in, is changed, and goes again, with nothing set up.
func TestPackageLifecycle(t *testing.T) {
	u := newUser(t)
	file := u.file("shop.yaml", shop)
	if got := u.must("plan", "-f", file); !strings.Contains(got, "+ unit shop.cart/1/0@local") || !strings.Contains(got, "oprc apply -f "+file) {
		t.Errorf("plan:\n%s", got)
	}
	first := u.run("apply", "-f", file)
	if first.code != 0 || !strings.Contains(first.out, "package/shop revision 1") || !strings.Contains(first.err, "oprc crm run --env local") {
		t.Errorf("apply: %+v", first)
	}
	if got := u.run("plan", "-f", file, "--detailed-exitcode"); got.code != 0 || !strings.HasPrefix(got.out, "No changes.") {
		t.Errorf("plan after apply: %+v", got)
	}
	if got := u.must("get", "units", "-o", "name"); got != "unit/shop.cart/0/0@local\nunit/shop.cart/1/0@local\n" {
		t.Errorf("units: %s", got)
	}

	u.file("shop.yaml", strings.ReplaceAll(shop, "img:1", "img:2"))
	changed := u.run("plan", "-f", file, "--detailed-exitcode")
	if changed.code != 2 || !strings.Contains(changed.out, `"img:1" → "img:2"  `+file+":4") {
		t.Errorf("plan of a change: %+v", changed)
	}
	u.must("apply", "-f", file)
	if got := u.must("history", "shop"); strings.Count(got, "\n") != 3 || !strings.Contains(got, "ada") {
		t.Errorf("history:\n%s", got)
	}

	if got := u.run("delete", "package", "shop"); got.code != 5 || !strings.Contains(got.err, "deletes package shop: held") {
		t.Errorf("delete without a terminal: %+v", got)
	}
	if got := u.run("delete", "-f", file); got.code != 5 {
		t.Errorf("delete -f without a terminal: %+v", got)
	}
	if got := u.must("get", "packages", "-o", "name"); got != "package/shop\n" {
		t.Errorf("packages after a held delete: %q", got)
	}
	u.must("delete", "package", "shop", "--yes")
	for _, args := range [][]string{{"get", "package", "shop"}, {"describe", "package", "shop"}, {"delete", "package", "shop", "--yes"}, {"history", "nothing"}} {
		if got := u.run(args...); got.code != 6 || !strings.Contains(got.err, "not found") {
			t.Errorf("%s: %+v, want exit 6", strings.Join(args, " "), got)
		}
	}
}

// What a file no longer has is deleted: that, too, needs a word.
func TestApplyThatDeletesIsHeld(t *testing.T) {
	u := newUser(t)
	file := u.file("shop.yaml", shop)
	u.must("apply", "-f", file)
	u.file("shop.yaml", "name: shop\nclasses: [{name: cart}]\n")
	if got := u.run("apply", "-f", file); got.code != 5 || !strings.Contains(got.err, "function shop.add") {
		t.Errorf("got %+v, want exit 5 and the function's name", got)
	}
	if got := u.run("apply", "-f", file, "--dry-run"); got.code != 0 || !strings.Contains(got.out, "- function shop.add") {
		t.Errorf("dry run: %+v", got)
	}
	u.must("apply", "-f", file, "--yes")
	if got := u.must("get", "functions", "-o", "name"); got != "" {
		t.Errorf("functions: %q", got)
	}
}

func TestBrokenFile(t *testing.T) {
	u := newUser(t)
	file := u.file("shop.yaml", strings.ReplaceAll(shop, "replicaCount", "replicaCuont"))
	for _, command := range []string{"validate", "plan", "apply"} {
		got := u.run(command, "-f", file)
		if all := got.out + got.err; got.code != 3 || strings.Count(all, file+":9:") != 1 || !strings.Contains(all, "1 error") || strings.Contains(all, "Error:") {
			t.Errorf("%s: %+v, want exit 3 and one finding", command, got)
		}
	}
	var doc struct {
		Diagnostics []struct {
			Code string
			Line int
		}
		Changes []any
	}
	got := u.run("plan", "-f", file, "-o", "json")
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil || got.code != 3 || len(doc.Changes) != 0 || doc.Diagnostics[0].Line != 9 {
		t.Errorf("plan -o json: %v: %+v", err, got)
	}
	if got := u.must("get", "packages", "-o", "name"); got != "" {
		t.Errorf("packages: %q", got)
	}
}

// A plan is applied as it was saved, or not at all.
func TestPlanFile(t *testing.T) {
	u := newUser(t)
	file, saved := u.file("shop.yaml", shop), filepath.Join(u.home, "next.plan")
	u.must("plan", "-f", file, "--out", saved)
	info, err := os.Stat(saved)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file holds secrets: got %v, %v", info, err)
	}
	if got := u.must("show", saved); !strings.Contains(got, "+ package shop") || !strings.Contains(got, "oprc apply "+saved) {
		t.Errorf("show:\n%s", got)
	}
	u.must("apply", saved)
	if got := u.run("apply", saved); got.code != 4 || !strings.Contains(got.err, "package/shop") {
		t.Errorf("a stale plan: %+v, want exit 4 and what moved", got)
	}
	u.must("show", saved)
	data, err := os.ReadFile(saved)
	if err != nil {
		t.Fatal(err)
	}
	u.file("next.plan", strings.Replace(string(data), "img:1", "img:9", 1))
	if got := u.run("apply", saved); got.code != 3 || !strings.Contains(got.err, "edited") {
		t.Errorf("an edited plan: %+v, want exit 3", got)
	}
	if got := u.run("apply", "nowhere.plan"); got.code != 6 {
		t.Errorf("no plan file: %+v, want exit 6", got)
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	u := newUser(t)
	file := u.file("shop.yaml", shop)
	out := ""
	for _, format := range []string{"text", "wide", "json", "yaml", "markdown", "github"} {
		out += u.must("plan", "-f", file, "-o", format)
	}
	u.must("apply", "-f", file)
	u.file("shop.yaml", strings.ReplaceAll(shop, "s3cr3t", "s3cr3t2"))
	out += u.must("plan", "-f", file)
	for _, args := range []string{"get packages", "get functions", "get units", "describe package shop", "describe unit shop.cart/0/0@local", "history shop", "tree"} {
		out += u.must(append(strings.Fields(args), "-o", "json")...)
	}
	if i := strings.Index(out, "s3cr3t"); i >= 0 {
		t.Errorf("the secret is printed: …%s", out[max(0, i-200):i+20])
	}
	if got := u.must("get", "function", "shop.add", "-o", "json", "--mask", "nothing"); !strings.Contains(got, "s3cr3t") {
		t.Errorf("the record lost it:\n%s", got)
	}
}

func TestEnvironments(t *testing.T) {
	u := newUser(t)
	if got := u.must("env", "list", "-o", "name"); got != "environment/local\n" {
		t.Errorf("a new state has %q", got)
	}
	u.must("env", "create", "edge-1", "--availability", "0.9", "--label", "zone=eu", "--units", "5")
	if got := u.must("env", "describe", "edge-1"); !strings.Contains(got, "zone=eu") || !strings.Contains(got, "units=5") {
		t.Errorf("describe:\n%s", got)
	}
	if got := u.run("env", "create", "edge-2", "--availability", "1.5"); got.code != 3 {
		t.Errorf("a bad availability: %+v, want exit 3", got)
	}
	if got := u.run("env", "delete", "edge-1"); got.code != 5 {
		t.Errorf("delete without a terminal: %+v, want exit 5", got)
	}
	u.must("env", "delete", "edge-1", "--yes")
	if got := u.run("env", "describe", "edge-1"); got.code != 6 {
		t.Errorf("got %+v, want exit 6", got)
	}
}

func TestUnreachable(t *testing.T) {
	u := newUser(t)
	file := u.file("shop.yaml", shop)
	for _, where := range [][]string{{"--redis", "redis://:hunter2@127.0.0.1:1/0"}, {"--server", "http://127.0.0.1:1"}} {
		for _, args := range [][]string{{"get", "packages"}, {"plan", "-f", file}, {"apply", "-f", file}, {"events"}, {"env", "list"}} {
			start := time.Now()
			got := u.run(append(where, args...)...)
			if got.code != 8 || !strings.Contains(got.err, "127.0.0.1:1") || strings.Contains(got.err, "hunter2") || time.Since(start) > 5*time.Second {
				t.Errorf("%v after %s: %+v, want exit 8 and the address", args, time.Since(start), got)
			}
		}
	}
	if got := u.run("validate", "-f", file, "--redis", "redis://127.0.0.1:1/0"); got.code != 0 {
		t.Errorf("validate needs no state: %+v", got)
	}
}

// The reference CRM runs what apply asks for; both find the same embedded state.
func TestApplyWaitsForTheCRM(t *testing.T) {
	u := newUser(t)
	file := u.file("shop.yaml", shop)
	if got := u.run("apply", "-f", file, "--wait", "--timeout", "300ms"); got.code != 7 || !strings.Contains(got.err, "shop.cart/0/0@local is PENDING") {
		t.Errorf("without a CRM: %+v, want exit 7", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan result)
	go func() { done <- u.runContext(ctx, "", "crm", "run", "--env", "local", "--start-delay", "10ms") }()
	t.Cleanup(func() { stop() })
	u.file("shop.yaml", strings.ReplaceAll(shop, "img:1", "img:2"))
	u.must("apply", "-f", file, "--wait", "--timeout", "20s")
	if got := u.must("get", "deployment", "shop.cart"); !strings.Contains(got, "RUNNING     2/2") {
		t.Errorf("deployment:\n%s", got)
	}
	u.must("delete", "package", "shop", "--yes", "--wait", "--timeout", "20s")
	if got := u.must("get", "units", "-o", "name"); got != "" {
		t.Errorf("units after the package is gone: %q", got)
	}
	stop()
	if got := <-done; got.code != 0 {
		t.Errorf("the CRM: %+v", got)
	}
}

func TestWatchEndsWhenInterrupted(t *testing.T) {
	u := newUser(t)
	u.must("apply", "-f", u.file("shop.yaml", shop))
	for _, args := range [][]string{{"get", "units", "-w"}, {"events", "-w"}} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		got := u.runContext(ctx, "", args...)
		cancel()
		if got.code != 130 || !strings.Contains(got.out, "shop") || got.err != "" {
			t.Errorf("%v: %+v, want exit 130 and no error text", args, got)
		}
	}
}

func TestStdin(t *testing.T) {
	u := newUser(t)
	got := u.runContext(t.Context(), "classes: [{name: c}]\n", "validate", "-f", "-", "--pkg", "shop", "-o", "json")
	if got.code != 0 || !strings.Contains(got.out, `"packages": 1`) {
		t.Errorf("got %+v", got)
	}
	if got := u.runContext(t.Context(), "classes: [{name: c}]\n", "validate", "-f", "-"); got.code != 3 || !strings.Contains(got.out, "E001") {
		t.Errorf("without a name: %+v", got)
	}
}

func TestFormat(t *testing.T) {
	u := newUser(t)
	file := u.file("shop.yaml", "classes:\n- name: c   # a class\nname: shop\n")
	if got := u.run("fmt", "--check", file); got.code != 3 || got.out != file+"\n" {
		t.Errorf("check: %+v, want exit 3 and the file's name", got)
	}
	if got := u.must("fmt", "--diff", file); !strings.Contains(got, "+name: shop") || !strings.Contains(got, "-name: shop") {
		t.Errorf("diff:\n%s", got)
	}
	before, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(before), "classes:") {
		t.Errorf("check and diff must leave the file: %v\n%s", err, before)
	}
	u.must("fmt", u.home)
	after, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(after), "name: shop\n") || !strings.Contains(string(after), "# a class") {
		t.Errorf("got %v\n%s", err, after)
	}
	if got := u.run("fmt", "--check", file); got.code != 0 || got.out != "" {
		t.Errorf("check again: %+v", got)
	}
	if got := u.runContext(t.Context(), "version: ''\nname:   x\n", "fmt", "-"); got.out != "name:   x\nversion: ''\n" {
		t.Errorf("stdin: %+v", got)
	}
	u.file("shop.yaml", "name: [\n")
	if got := u.run("fmt", file); got.code != 3 || !strings.Contains(got.err, file+":") {
		t.Errorf("a broken file: %+v", got)
	}
}

func TestExplainAndSchema(t *testing.T) {
	u := newUser(t)
	if got := u.must("explain", "classes.functions.access"); !strings.Contains(got, "PUBLIC, INTERNAL, PRIVATE") {
		t.Errorf("explain:\n%s", got)
	}
	if got := u.run("explain", "classes.nmae"); got.code != 6 || !strings.Contains(got.err, "did you mean name?") {
		t.Errorf("an unknown field: %+v", got)
	}
	if got := u.must("__complete", "explain", "classes.fun"); !strings.Contains(got, "classes.functions") {
		t.Errorf("completion: %s", got)
	}
	for format, want := range map[string]string{"cue": "#Package", "jsonschema": `"$schema"`, "openapi": `"openapi"`} {
		if got := u.must("schema", "export", "--format", format); !strings.Contains(got, want) {
			t.Errorf("%s: %.200s", format, got)
		}
	}
	if got := u.run("schema", "export", "--format", "xsd"); got.code != 64 {
		t.Errorf("an unknown format: %+v", got)
	}
}

// What others need cannot be deleted, and the message says who they are.
func TestDeleteOfARequiredPackage(t *testing.T) {
	u := newUser(t)
	u.must("apply", "-f", u.file("a.yaml", "name: a\nclasses: [{name: c}]\n---\nname: b\nrequired: [a]\n"))
	if got := u.run("delete", "package", "a", "--yes"); got.code == 0 || !strings.Contains(got.err, "b") {
		t.Errorf("got %+v", got)
	}
	u.must("delete", "package", "a", "b", "--yes")
}

func TestEmptyContextsAndListings(t *testing.T) {
	u := newUser(t)
	if got := u.must("get", "packages", "-o", "json"); !strings.Contains(got, `"items": []`) {
		t.Errorf("got %s", got)
	}
	if got := u.run("get", "packages"); got.code != 0 || got.out != "" || !strings.Contains(got.err, "There are no packages") {
		t.Errorf("got %+v", got)
	}
	if got := u.must("tree", "-o", "json"); !strings.Contains(got, `"items": []`) {
		t.Errorf("got %s", got)
	}
}

// A CRM that found the embedded state with another process keeps it when that
// process goes.
func TestTheCRMOutlivesTheOwnerOfTheState(t *testing.T) {
	u := newUser(t)
	file := u.file("shop.yaml", shop)
	u.must("apply", "-f", file)
	owner, leave := context.WithCancel(t.Context())
	left := make(chan result)
	go func() { left <- u.runContext(owner, "", "get", "units", "-w") }()
	time.Sleep(300 * time.Millisecond) // it owns the state now; if not, the CRM does, and the test is easier
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan result)
	go func() { done <- u.runContext(ctx, "", "crm", "run", "--env", "local", "--start-delay", "10ms") }()
	time.Sleep(500 * time.Millisecond)
	leave()
	<-left
	u.file("shop.yaml", strings.ReplaceAll(shop, "img:1", "img:2"))
	u.must("apply", "-f", file, "--wait", "--timeout", "20s")
	stop()
	if got := <-done; got.code != 0 {
		t.Errorf("the CRM: %+v", got)
	}
}

func TestConvert(t *testing.T) {
	u := newUser(t)
	file := u.file("old.yaml", "name: shop\nclasses:\n- name: c\n  stateType: FILES # old\n")
	if got := u.must("convert", file); !strings.Contains(got, "stateType: NORMAL # old") {
		t.Errorf("got\n%s", got)
	}
	u.file("other.yaml", "name: other\n")
	if got := u.run("convert", u.home); got.code != 64 {
		t.Errorf("two files: %+v, want exit 64", got)
	}
	if got := u.must("convert", "--write", u.home); got != file+"\n" {
		t.Errorf("got %q, want the name of the file that changed", got)
	}
	if got := u.must("validate", "--strict", "-f", file); !strings.HasPrefix(got, "OK") {
		t.Errorf("after the conversion:\n%s", got)
	}
}

func TestValidatedFilesAreRemembered(t *testing.T) {
	u := newUser(t)
	file := u.file("shop.yaml", "name: shop\n")
	first := u.must("validate", "-f", file)
	known, err := filepath.Glob(filepath.Join(u.home, ".cache", "oprc", "validated", "*"))
	if err != nil || len(known) != 1 {
		t.Fatalf("remembered: %v, %v; want one run", known, err)
	}
	if err := os.WriteFile(known[0], []byte("41"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := u.must("validate", "-f", file); !strings.Contains(got, "41") {
		t.Errorf("what was remembered is not used: %s", got)
	}
	for _, flags := range [][]string{{"--no-cache"}, {"--strict"}, {"--pkg", "other"}} {
		if got := u.must(append([]string{"validate", "-f", file}, flags...)...); got != first {
			t.Errorf("%v: got %s, want %s", flags, got, first)
		}
	}
	u.file("shop.yaml", "nam: shop\n")
	for range 2 {
		if got := u.run("validate", "-f", file); got.code != 3 {
			t.Errorf("another content: got %+v, want exit 3", got)
		}
	}
}
