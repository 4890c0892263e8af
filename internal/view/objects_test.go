package view_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

func at(seconds int) time.Time { return time.Date(2026, 5, 1, 12, 0, seconds, 0, time.UTC) }

func deployment(key string, running int, c oprc.Condition) reconcile.Object {
	return reconcile.Object{Kind: oprc.KindDeployment, Key: key, Doc: &reconcile.DeploymentView{
		Deployment: oprc.Deployment{
			Key: key, Pkg: "shop", PartitionCount: 2, ReplicaCount: 1, TargetEnvs: []string{"cloud-1", "edge-1"},
			Members:     []oprc.Member{{ID: 1, Env: "cloud-1"}, {ID: 2, Env: "edge-1", StandbyFn: []string{"add"}}},
			Assignments: []oprc.Assignment{{Primary: 1, Owners: []int{1}, ShardIDs: []int{0}}, {Primary: 2, Owners: []int{2}, ShardIDs: []int{1}}},
		},
		Rev: 3, Condition: c, Units: 2, Running: running, SpecHash: "sha256:0123456789abcdef",
	}}
}

func unit(partition int, env string, c oprc.Condition, problem string) reconcile.Object {
	id := oprc.UnitID("shop.cart", partition, 0, env)
	return reconcile.Object{Kind: oprc.KindUnit, Key: id, Doc: &reconcile.UnitView{
		UnitRecord: oprc.UnitRecord{
			Unit: oprc.DeploymentUnit{
				ID: id, ClsKey: "shop.cart", TargetEnv: env,
				Functions: []oprc.UnitFunction{{Key: "shop.add", Config: oprc.FunctionConfig{Env: oprc.Env{"API_KEY": {Text: "s3cr3t"}}}}},
			},
			SpecHash: "sha256:fedcba98765432", Generation: 2, Op: oprc.Deploy, DispatchedAt: at(0),
		},
		Condition: c, Settled: true,
		Status: &oprc.Status{Generation: 2, Condition: c, CRM: "crm-" + env, Time: at(1), ErrorMsg: problem},
	}}
}

func TestObjects(t *testing.T) {
	list := []reconcile.Object{deployment("shop.cart", 2, oprc.Running), deployment("shop.very-long-name", 0, oprc.Pending)}
	tests := map[string]struct {
		format view.Format
		want   string
	}{
		"text": {view.Text, `KEY                   CONDITION   RUNNING   PARTITIONS   REPLICAS   ENVIRONMENTS
shop.cart             RUNNING     2/2       2            1          cloud-1,edge-1
shop.very-long-name   PENDING     0/2       2            1          cloud-1,edge-1
`},
		"wide": {view.Wide, `KEY                   CONDITION   RUNNING   PARTITIONS   REPLICAS   ENVIRONMENTS     REV   SHARD-TYPE   DRIFT   SPEC-HASH      ERROR
shop.cart             RUNNING     2/2       2            1          cloud-1,edge-1   3     -            -       0123456789ab   -
shop.very-long-name   PENDING     0/2       2            1          cloud-1,edge-1   3     -            -       0123456789ab   -
`},
		"name": {view.Name, "deployment/shop.cart\ndeployment/shop.very-long-name\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := render(t, view.Output{Format: tt.format, Now: at(90)}, func(o view.Output) error { return o.Objects(oprc.KindDeployment, list) })
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("-got +want\n%s", diff)
			}
		})
	}
}

// On a narrow terminal, a list of environments is shortened to those that fit, and so
// are errors; a terminal that is wide enough changes nothing.
func TestListingFitsTheTerminal(t *testing.T) {
	far := deployment("shop.cart", 1, oprc.Down)
	far.Doc.(*reconcile.DeploymentView).TargetEnvs = []string{"europe-west-1", "us-east-2", "asia-south-1"}
	far.Doc.(*reconcile.DeploymentView).ErrorMsg = "no such image: registry.example/shop/cart"
	one := deployment("shop.order", 2, oprc.Running)
	one.Doc.(*reconcile.DeploymentView).TargetEnvs = []string{"local"}
	tests := map[int]string{
		150: `KEY          CONDITION   RUNNING   PARTITIONS   REPLICAS   ENVIRONMENTS                           ERROR
shop.cart    DOWN        1/2       2            1          europe-west-1,us-east-2,asia-south-1   no such image: registry.example/shop/cart
shop.order   RUNNING     2/2       2            1          local                                  -
`,
		120: `KEY          CONDITION   RUNNING   PARTITIONS   REPLICAS   ENVIRONMENTS   ERROR
shop.cart    DOWN        1/2       2            1          3 of them      no such image: registry.example/shop/cart
shop.order   RUNNING     2/2       2            1          local          -
`,
		130: `KEY          CONDITION   RUNNING   PARTITIONS   REPLICAS   ENVIRONMENTS            ERROR
shop.cart    DOWN        1/2       2            1          europe-west-1 +2 more   no such image: registry.example/shop/cart
shop.order   RUNNING     2/2       2            1          local                   -
`,
		80: `KEY          CONDITION   RUNNING   PARTITIONS   REPLICAS   ENVIRONMENTS   ERROR
shop.cart    DOWN        1/2       2            1          3 of them      no su…
shop.order   RUNNING     2/2       2            1          local          -
`,
	}
	for columns, want := range tests {
		got := render(t, view.Output{Columns: columns}, func(o view.Output) error {
			return o.Objects(oprc.KindDeployment, []reconcile.Object{far, one})
		})
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("%d columns: -got +want\n%s", columns, diff)
		}
	}
}

// Every kind has a row as long as its widest header.
func TestEveryKindHasARow(t *testing.T) {
	docs := map[oprc.Kind]any{
		oprc.KindPackage: &reconcile.PackageView{Name: "x"}, oprc.KindClass: &reconcile.ClassView{}, oprc.KindFunction: &reconcile.FunctionView{},
		oprc.KindDeployment: &reconcile.DeploymentView{}, oprc.KindUnit: &reconcile.UnitView{}, oprc.KindRuntime: &oprc.ClassRuntime{},
		oprc.KindEnv: &reconcile.EnvironmentView{}, oprc.KindCRM: &reconcile.CRMView{}, oprc.KindSource: &oprc.SourceStatus{},
	}
	for kind, doc := range docs {
		obj := reconcile.Object{Kind: kind, Key: "x", Doc: doc}
		for _, f := range []view.Format{view.Wide, view.JSON, view.YAML, view.Name} {
			render(t, view.Output{Format: f}, func(o view.Output) error { return o.Objects(kind, []reconcile.Object{obj}) })
		}
		got := render(t, view.Output{}, func(o view.Output) error { return o.Describe(view.Description{Object: obj}) })
		if !strings.Contains(got, "Kind:") {
			t.Errorf("describe %s: got %q", kind, got)
		}
		doc := render(t, view.Output{Format: view.JSON}, func(o view.Output) error { return o.Object(obj) })
		if strings.Contains(doc, "null") {
			t.Errorf("%s has a null:\n%s", kind, doc)
		}
	}
}

func TestObjectsAsDocuments(t *testing.T) {
	list := []reconcile.Object{{Kind: oprc.KindPackage, Key: "shop", Doc: &reconcile.PackageView{
		Name: "shop", PackageRecord: oprc.PackageRecord{Spec: oprc.Package{Name: "shop"}, Rev: 2, Origin: "cli", AppliedAt: at(0)},
	}}}
	want := `formatVersion: '1.0'
items:
- kind: package
  key: shop
  name: shop
  spec:
    name: shop
  digest: ''
  rev: 2
  origin: cli
  appliedAt: '2026-05-01T12:00:00Z'
  deployments: []
`
	got := render(t, view.Output{Format: view.YAML}, func(o view.Output) error { return o.Objects(oprc.KindPackage, list) })
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("-got +want\n%s", diff)
	}
	none := render(t, view.Output{Format: view.JSON}, func(o view.Output) error { return o.Objects(oprc.KindPackage, nil) })
	if want := "{\n  \"formatVersion\": \"1.0\",\n  \"items\": []\n}\n"; none != want {
		t.Errorf("an empty listing: got %s", none)
	}
}

func TestObjectsMaskSecrets(t *testing.T) {
	obj := unit(0, "cloud-1", oprc.Running, "")
	for _, f := range []view.Format{view.JSON, view.YAML} {
		got := render(t, view.Output{Format: f, Mask: []string{"*KEY*"}}, func(o view.Output) error { return o.Object(obj) })
		if strings.Contains(got, "s3cr3t") || !strings.Contains(got, "***") {
			t.Errorf("%s: the secret is not hidden:\n%s", f, got)
		}
	}
}

func TestDescribe(t *testing.T) {
	d := view.Description{
		Object: deployment("shop.cart", 1, oprc.Down),
		Units:  []reconcile.Object{unit(0, "cloud-1", oprc.Running, ""), unit(1, "edge-1", oprc.Down, "no such image")},
		Events: []oprc.Event{{Time: at(80), Type: "condition", Kind: oprc.KindUnit, Key: "shop.cart/1/0@edge-1", From: "DEPLOYING", To: "DOWN"}},
	}
	want := `Kind:           deployment
Key:            shop.cart
Condition:      DOWN
Running:        1/2
Partitions:     2
Replicas:       1
Environments:   cloud-1,edge-1
Rev:            3
Spec hash:      0123456789ab

Members:
  MEMBER   ENVIRONMENT   MAX-SHARDS   ALL-PARTITIONS   DISABLED   STANDBY
  1        cloud-1       -            -                -          -
  2        edge-1        -            -                -          add

Assignments:
  PARTITION   PRIMARY   OWNERS   SHARDS
  0           1         1        0
  1           2         2        1

Units:
  UNIT                    CONDITION   GENERATION   CRM           AGE
  shop.cart/0/0@cloud-1   RUNNING     2            crm-cloud-1   90s
  shop.cart/1/0@edge-1    DOWN        2            crm-edge-1    90s

Errors:
  shop.cart/1/0@edge-1   no such image

Events:
  TIME   TYPE        OBJECT                      CHANGE             MESSAGE
  10s    condition   unit/shop.cart/1/0@edge-1   DEPLOYING → DOWN   -
`
	got := render(t, view.Output{Now: at(90)}, func(o view.Output) error { return o.Describe(d) })
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("-got +want\n%s", diff)
	}
}

func TestTree(t *testing.T) {
	w := view.World{
		Packages: []reconcile.Object{{Kind: oprc.KindPackage, Key: "shop", Doc: &reconcile.PackageView{Name: "shop", PackageRecord: oprc.PackageRecord{Rev: 2}, Condition: oprc.Down}}},
		Classes: []reconcile.Object{
			{Kind: oprc.KindClass, Key: "shop.base", Doc: &reconcile.ClassView{Class: oprc.Class{Key: "shop.base", Pkg: "shop"}}},
			{Kind: oprc.KindClass, Key: "shop.cart", Doc: &reconcile.ClassView{Class: oprc.Class{Key: "shop.cart", Pkg: "shop", Parents: []string{".base"}}}},
		},
		Deployments: []reconcile.Object{deployment("shop.cart", 1, oprc.Down)},
		Units:       []reconcile.Object{unit(0, "cloud-1", oprc.Running, ""), unit(1, "edge-1", oprc.Down, "no such image")},
	}
	want := `package shop  DOWN  rev 2
├── class shop.base
└── class shop.cart  from .base
    └── deployment shop.cart  DOWN  1/2 running
        ├── unit shop.cart/0/0@cloud-1  RUNNING
        └── unit shop.cart/1/0@edge-1  DOWN  no such image
`
	got := render(t, view.Output{}, func(o view.Output) error { return o.Tree(w) })
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("-got +want\n%s", diff)
	}
}

func TestWatchPrintsWhatChanges(t *testing.T) {
	w := view.Watch{Kind: oprc.KindDeployment}
	update := func(now time.Time, list ...reconcile.Object) string {
		return render(t, w.Output, func(o view.Output) error {
			w.Output = o
			return w.Update(now, list)
		})
	}
	a, b := deployment("shop.a", 0, oprc.Pending), deployment("shop.b", 2, oprc.Running)
	steps := []struct {
		what, got, want string
	}{
		{"all at first", update(at(0), a, b), "KEY      CONDITION   RUNNING   PARTITIONS   REPLICAS   ENVIRONMENTS\n" +
			"shop.a   PENDING     0/2       2            1          cloud-1,edge-1\n" +
			"shop.b   RUNNING     2/2       2            1          cloud-1,edge-1\n"},
		{"nothing when only time goes by", update(at(50), a, b), ""},
		{"what changed, in the same columns", update(at(51), deployment("shop.a", 2, oprc.Running), b), "shop.a   RUNNING     2/2       2            1          cloud-1,edge-1\n"},
		{"what has gone", update(at(52), b), "shop.a   (gone)\n"},
	}
	for _, s := range steps {
		if diff := cmp.Diff(s.got, s.want); diff != "" {
			t.Errorf("%s: -got +want\n%s", s.what, diff)
		}
	}
}

func TestAppliedAndHistory(t *testing.T) {
	res := reconcile.Result{PlanID: "sha256:abc", Revs: map[string]int64{"shop": 3}}
	res.Summary.Update, res.Summary.Unchanged, res.Summary.Commands.Deploy, res.Verified = 1, 4, 2, 3
	got := render(t, view.Output{}, func(o view.Output) error { return o.Applied(res) })
	if want := "package/shop revision 3\nApplied: 0 created, 1 updated, 0 deleted, 4 unchanged; 2 units sent to deploy\nVerified: live state matches the plan (3 changed objects read back).\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	entries := []oprc.HistoryEntry{{Rev: 3, Time: at(0), Action: "update", Actor: "ada", Origin: "git:main", Commit: "0123456789abcdef", PlanID: "sha256:p"}}
	got = render(t, view.Output{Now: at(30)}, func(o view.Output) error { return o.History(entries) })
	want := "REV   AGE   ACTION   ACTOR   ORIGIN     COMMIT         MESSAGE\n3     30s   update   ada     git:main   0123456789ab   -\n"
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("-got +want\n%s", diff)
	}
}
