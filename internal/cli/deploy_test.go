package cli_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/cli"
)

// The configurations that are handed out are ones that a daemon starts with.
func TestConfigurationsOfDeployment(t *testing.T) {
	for _, file := range []string{"../../deploy/kubernetes/oprc.yaml", "../../examples/05-gitops/oprc.yaml"} {
		c, err := cli.LoadConfig(file, nil, nil)
		if err != nil || len(c.Sources) == 0 {
			t.Errorf("%s: %d sources, %v", file, len(c.Sources), err)
		}
	}
}

// A daemon that knows no callers listens on loopback alone, where no probe of Kubernetes
// reaches it.
func TestTheDaemonInKubernetesCanBeReached(t *testing.T) {
	c, err := cli.LoadConfig("../../deploy/kubernetes/oprc.yaml", nil, nil)
	if err != nil || !c.Security.Required {
		t.Errorf("security of deploy/kubernetes/oprc.yaml: %+v, %v", c.Security, err)
	}
}

// Alerts say what to do next with commands that there are.
func TestCommandsInAlerts(t *testing.T) {
	rules, err := os.ReadFile("../../deploy/prometheus/oprc.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`oprc ([^`]*)`").FindAllSubmatch(rules, -1)
	for _, m := range named {
		words := strings.Fields(string(m[1]))
		if command, _ := cli.Find(words); !strings.HasPrefix(command, "oprc "+words[0]) {
			t.Errorf("there is no oprc %s", m[1])
		}
	}
	if len(named) < 5 {
		t.Errorf("found %d commands", len(named))
	}
}
