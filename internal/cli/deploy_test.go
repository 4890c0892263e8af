package cli_test

import (
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
