//go:build endurance

package crmtest_test

import (
	"os/exec"
	"testing"

	"github.com/oaas-platform/oprc/crm/crmtest"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// A CRM in Bash starts a process for each command of Redis: it takes a minute.
func TestShell(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"bash", "redis-cli"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: install it (apt-get install bash redis-tools)", err)
		}
	}
	url := rdbtest.Server(t)
	crmtest.Test(t, crmtest.Options{Redis: url, Start: startChild(t, "bash", "../../docs/crm/crm.sh", url, "conformance", "sh"), Patience: patience})
}
