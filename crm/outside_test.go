package crm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// outside is a CRM in a module of its own: every type that it meets has a public name.
const outside = `package main

import (
	"context"
	"fmt"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/workload"
)

type driver struct {
	engines map[string]crm.Provision
	configs []crm.FunctionConfig
}

func (d *driver) Deploy(_ context.Context, c crm.Command, _ crm.Reporter) (crm.State, error) {
	var u crm.Unit = c.Unit
	d.engines = u.Provision
	st := crm.State{Condition: crm.Running, Functions: map[string]crm.FunctionStatus{}}
	for _, f := range u.Functions {
		d.configs = append(d.configs, f.Config)
		w, err := workload.Of(u, f)
		if err != nil {
			return st, err
		}
		for name, v := range w.Env {
			if v.IsSecret() {
				fmt.Println(name, v.Secret.Name)
			}
		}
		if r := f.Requirements; r != nil && *r == (crm.Requirements{}) {
			fmt.Println("nothing required")
		}
		st.Functions[f.Key] = crm.FunctionStatus{Condition: crm.Running, InvocationURL: w.InvocationURL("http://localhost")}
	}
	if k := d.engines["f"].Knative; k != nil {
		fmt.Println(crm.Knative(*k), crm.Docker{}, crm.KubeWorkload{})
	}
	for _, b := range u.Bindings {
		if b.Access == crm.Private || c.Type == crm.OpUndeploy {
			fmt.Println(crm.Binding(b))
		}
	}
	var peers []crm.Peer = u.Peers
	fmt.Println(peers, crm.Constraints{}, crm.Macro{Steps: []crm.Step{{}}}, crm.StateSpec{KeySpecs: []crm.KeySpec{{}}})
	return st, nil
}

func (*driver) Undeploy(context.Context, crm.Command) error { return nil }

func main() { fmt.Println(crm.Run(context.Background(), crm.Options{Env: "edge", ID: "outside-1"}, &driver{})) }
`

func TestUsableFromAnotherModule(t *testing.T) {
	here, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.go": outside,
		"go.mod":  "module example.org/outside\n\ngo 1.26\n",
		"go.work": "go 1.26.0\n\nuse (\n\t.\n\t" + here + "\n)\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "vet", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK="+filepath.Join(dir, "go.work"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
