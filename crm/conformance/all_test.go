//go:build conformance

package conformance_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/conformance"
	"github.com/oaas-platform/oprc/crm/crmtest"
	"github.com/oaas-platform/oprc/crm/process"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// conforms checks all rules.
func conforms(t *testing.T, o conformance.Options) {
	t.Helper()
	o.Rules = untimed()
	crmtest.Test(t, o)
	isInTime(t, o)
}

func TestEachKindOfRedis(t *testing.T) {
	t.Parallel()
	for _, kind := range rdbtest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			conforms(t, simulated(rdbtest.Servers(t, kind)))
		})
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		conforms(t, simulated("redis://"+miniredis.RunT(t).Addr()))
	})
}

// The CRMs of docs/crm. They claim after 30 s and touch what is in hand every 5 s.
func TestExamples(t *testing.T) {
	t.Parallel()
	for name, program := range map[string][]string{
		"python": {pythonWithRedis(t), "../../docs/crm/crm.py"},
		"shell":  {found(t, "bash", "bash, redis-tools and jq"), "../../docs/crm/crm.sh"},
		"node":   {"/usr/bin/env", "NODE_PATH=/usr/share/nodejs", found(t, "node", "nodejs and node-redis"), "../../docs/crm/crm.js"}, // where Debian has node-redis
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := rdbtest.Server(t)
			conforms(t, conformance.Options{Redis: url, Start: child(t.Output(), append(program, url, "conformance", name)...), Patience: patience, Lease: 20 * time.Second})
		})
	}
}

func found(t *testing.T, program, packages string) string {
	t.Helper()
	file, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%v: install %s", err, packages)
	}
	return file
}

// pythonWithRedis finds a Python that has the redis module.
func pythonWithRedis(t *testing.T) string {
	t.Helper()
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(python, "-c", "import redis").Run() == nil {
			return python
		}
	}
	t.Fatal("no python3 has the module redis: install python3-redis")
	return ""
}

// The process driver runs a workload that says what it is.
func TestProcessDriver(t *testing.T) {
	t.Parallel()
	url := rdbtest.Server(t)
	images := process.Images{"registry.example/conformance:1": {Command: []string{os.Args[0], "workload"}, HealthPath: "/conformance"}}
	driver := func() crm.Handler { return process.New(process.Options{Images: images, Log: t.Output()}) }
	o := conformance.Options{Redis: url, Start: startGo(url, driver), Patience: patience, Lease: 10 * time.Second}
	o.Rules = untimed()
	result, err := conformance.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range result {
		if f.Verdict != conformance.Kept { // nothing is left unseen
			t.Errorf("rule %s: %s: %s", f.Rule, f.Verdict, f.Seen)
		}
	}
	isInTime(t, o)
}
