package view_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/view"
)

func raw(v any) json.RawMessage { return oprc.MustCanonical(v) }

// samplePlan changes one package, makes one, deletes one and declares an environment.
func samplePlan() *plan.Plan {
	fn := oprc.Function{Name: "add", Type: oprc.Task, Provision: &oprc.Provision{Docker: &oprc.Docker{Image: "img:1"}}}
	changed := oprc.UnitID("shop.cart", 0, 0, "edge")
	return &plan.Plan{
		FormatVersion: plan.FormatVersion, ID: "sha256:abc",
		Summary: plan.Summary{
			Create: 3, Update: 2, Delete: 1, Unchanged: 5, Commands: plan.CommandCounts{Deploy: 1, Undeploy: 1},
			Blast: plan.Blast{Environments: []string{"edge"}},
		},
		Changes: []plan.Change{
			{Kind: oprc.KindEnv, Key: "edge", Actions: []plan.Action{plan.Create}, Reason: plan.ReasonNew, After: raw(map[string]any{})},
			{Kind: oprc.KindPackage, Key: "old", Actions: []plan.Action{plan.Delete}, Reason: plan.ReasonRemoved, Before: raw(1)},
			{
				Kind: oprc.KindPackage, Key: "shop", Actions: []plan.Action{plan.Update}, Reason: plan.ReasonSpec, Before: raw(1), After: raw(2),
				Fields: []plan.Field{
					{Path: "/version", Before: raw("1"), After: raw("2"), File: "shop.yaml", Line: 2},
					{Path: "/functions/add/image", Before: raw("a"), After: raw("b"), File: "shop.yaml", Line: 9},
				},
			},
			{
				Kind: oprc.KindFunction, Key: "shop.add", Package: "shop", Actions: []plan.Action{plan.Update}, Reason: plan.ReasonSpec,
				Before: raw(1), After: raw(2),
				Fields: []plan.Field{
					{Path: "/provision/docker/image", Before: raw("img:1"), After: raw("img:2"), File: "shop.yaml", Line: 9},
					{Path: "/config/env/API_TOKEN", Before: raw("s3cr3t"), After: raw("hush"), File: "shop.yaml", Line: 10},
				},
			},
			{Kind: oprc.KindFunction, Key: "shop.new", Package: "shop", Actions: []plan.Action{plan.Create}, Reason: plan.ReasonNew, After: raw(fn)},
			{
				Kind: oprc.KindUnit, Key: changed, Package: "shop", Actions: []plan.Action{plan.Update}, Reason: plan.ReasonInherited,
				Before: raw(1), After: raw(2), Fields: []plan.Field{{Path: "/functions/shop.add/image", Before: raw("img:1"), After: raw("img:2")}},
			},
		},
	}
}

func TestPlan(t *testing.T) {
	tests := map[string]struct {
		format view.Format
		plan   *plan.Plan
		want   string
	}{
		"text": {view.Text, samplePlan(), `Deletes 1 package:
  - package old

+ environment edge

~ package shop
    /version: "1" → "2"  shop.yaml:2
  ~ function shop.add
      /provision/docker/image: "img:1" → "img:2"  shop.yaml:9
      /config/env/API_TOKEN: "***" → "***"  shop.yaml:10
  + function shop.new  TASK img:1
    ~ unit shop.cart/0/0@edge  because of a parent, function or required package

Plan: 3 to create, 2 to update, 1 to delete, 5 unchanged; 1 unit to deploy, 1 unit to undeploy in edge
sha256:abc

To carry it out: oprc apply -f shop.yaml
`},
		"no changes": {view.Text, &plan.Plan{Summary: plan.Summary{Unchanged: 4}}, "No changes. Live state matches the files (4 objects compared).\n"},
		"github": {view.GitHub, samplePlan(), `::warning title=oprc plan%3A deletes 1 package::deletes package old
::notice title=oprc plan::3 to create, 2 to update, 1 to delete, 5 unchanged; 1 unit to deploy, 1 unit to undeploy in edge
::notice file=shop.yaml,line=2,title=package shop::/version: "1" → "2"
::notice file=shop.yaml,line=9,title=function shop.add::/provision/docker/image: "img:1" → "img:2"
::notice file=shop.yaml,line=10,title=function shop.add::/config/env/API_TOKEN: "***" → "***"
`},
		"markdown": {view.Markdown, samplePlan(), "### oprc plan: 3 to create, 2 to update, 1 to delete, 5 unchanged; 1 unit to deploy, 1 unit to undeploy in edge\n\n" +
			"**Deletes 1 package**\n\n```diff\n- package old\n```\n" +
			"\n`sha256:abc`\n```sh\noprc apply -f shop.yaml\n```\n" +
			"\n<details><summary>environments: 1 change</summary>\n\n```diff\n+ environment edge\n```\n\n</details>\n" +
			"\n<details><summary>package shop: 4 changes</summary>\n\n```diff\n" + `! package shop
    /version: "1" → "2"  (shop.yaml:2)
!   function shop.add
      /provision/docker/image: "img:1" → "img:2"  (shop.yaml:9)
      /config/env/API_TOKEN: "***" → "***"  (shop.yaml:10)
+   function shop.new  (TASK img:1)
!     unit shop.cart/0/0@edge  (because of a parent, function or required package)
` + "```\n\n</details>\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := view.Output{Format: tt.format, Mask: []string{"*TOKEN*"}}
			got := render(t, o, func(o view.Output) error { return o.Plan(tt.plan, "oprc apply -f shop.yaml") })
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("-got +want\n%s", diff)
			}
		})
	}
}

func TestPlanJSONHasNoNullsAndNoSecrets(t *testing.T) {
	got := render(t, view.Output{Format: view.JSON, Mask: []string{"*TOKEN*"}}, func(o view.Output) error {
		return o.Plan(samplePlan(), "")
	})
	for _, bad := range []string{"null", "s3cr3t", "hush"} {
		if strings.Contains(got, bad) {
			t.Errorf("the document contains %q:\n%s", bad, got)
		}
	}
	var p plan.Plan
	if err := json.Unmarshal([]byte(got), &p); err != nil || p.ID != "sha256:abc" || len(p.Changes) != 6 {
		t.Errorf("got %v, %d changes of plan %s", err, len(p.Changes), p.ID)
	}
}

func TestPlanFoldsManyUnits(t *testing.T) {
	p := &plan.Plan{}
	for i := range 12 {
		env := []string{"cloud-1", "edge-1"}[i%2]
		p.Changes = append(p.Changes, plan.Change{
			Kind: oprc.KindUnit, Key: oprc.UnitID("shop.cart", i, 0, env), Package: "shop",
			Actions: []plan.Action{plan.Create}, Reason: plan.ReasonNew, After: raw(1),
		})
	}
	text := render(t, view.Output{}, func(o view.Output) error { return o.Plan(p, "") })
	want := "~ package shop  package file unchanged; only its placement or dependencies changed\n    + 12 units of shop.cart: 6 in cloud-1, 6 in edge-1\n"
	if !strings.HasPrefix(text, want) {
		t.Errorf("got\n%swant the start\n%s", text, want)
	}
	wide := render(t, view.Output{Format: view.Wide}, func(o view.Output) error { return o.Plan(p, "") })
	if n := strings.Count(wide, "+ unit "); n != 12 {
		t.Errorf("wide: got %d units, want 12:\n%s", n, wide)
	}
}

func TestPlanMarkdownSaysWhatItLeftOut(t *testing.T) {
	p := &plan.Plan{ID: "sha256:abc"}
	for i := range 200 {
		p.Changes = append(p.Changes, plan.Change{
			Kind: oprc.KindPackage, Key: fmt.Sprintf("p%03d", i), Actions: []plan.Action{plan.Update}, Reason: plan.ReasonSpec,
			Fields: []plan.Field{{Path: "/version", Before: raw("0"), After: raw(fmt.Sprint(i))}},
		})
	}
	got := render(t, view.Output{Format: view.Markdown, MaxBytes: 4000}, func(o view.Output) error { return o.Plan(p, "") })
	if len(got) > 4000 {
		t.Errorf("got %d bytes, want at most 4000", len(got))
	}
	shown := strings.Count(got, "<details>")
	if want := fmt.Sprintf("%d of 200 parts left out", 200-shown); shown == 0 || !strings.Contains(got, want) {
		t.Errorf("%d parts are shown, and the end is %q", shown, got[max(0, len(got)-120):])
	}
}
