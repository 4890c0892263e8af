package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A file that is wrong, empty or passed over changes nothing of what came from it.
// Only one that is gone asks for a deletion.
func TestWhatBecameOfTheFileOfAPackage(t *testing.T) {
	at := func(path string, p oprc.Package) oprc.Document { return oprc.Document{Package: &p, Path: path} }
	found := func(code oprc.Code, severity oprc.Severity, path, pkg string) oprc.Diagnostic {
		return oprc.Diagnostic{Code: code, Severity: severity, Position: oprc.Position{File: path}, Package: pkg, Message: "m"}
	}
	wrong := func(path, pkg string) oprc.Diagnostic { return found(oprc.CodeField, oprc.SeverityError, path, pkg) }
	other := at("other.yaml", oprc.Package{Name: "other"})
	dangling := edited(shop("pay:1"), func(p *oprc.Package) { p.Name, p.Required = "shop2", []string{"nowhere"} })
	tests := map[string]struct {
		docs   []oprc.Document
		found  oprc.Diagnostics
		unread []string
		want   []string
		kept   []string
	}{
		"is gone":                         {docs: []oprc.Document{other}, want: []string{"shop delete"}},
		"has another package":             {docs: []oprc.Document{other, at("shop.yaml", oprc.Package{Name: "shop2"})}, want: []string{"shop delete", "shop2 create"}},
		"has an error":                    {docs: []oprc.Document{other, at("shop.yaml", shop("pay:2"))}, found: oprc.Diagnostics{wrong("shop.yaml", "shop")}, kept: []string{"shop"}},
		"has an error and no name":        {docs: []oprc.Document{other, at("shop.yaml", edited(shop("pay:2"), func(p *oprc.Package) { p.Name = "" }))}, found: oprc.Diagnostics{wrong("shop.yaml", "")}, kept: []string{"shop"}},
		"has an error and another name":   {docs: []oprc.Document{other, at("shop.yaml", oprc.Package{Name: "shop2"})}, found: oprc.Diagnostics{wrong("shop.yaml", "shop2")}, kept: []string{"shop", "shop2"}},
		"has an error beside the package": {docs: []oprc.Document{other, at("shop.yaml", shop("pay:2")), at("shop.yaml", oprc.Package{Name: "more"})}, found: oprc.Diagnostics{wrong("shop.yaml", "")}, kept: []string{"more", "shop"}},
		"cannot be read":                  {docs: []oprc.Document{other}, found: oprc.Diagnostics{wrong("shop.yaml", "")}, kept: []string{"shop"}},
		"asks for what is not there":      {docs: []oprc.Document{other, at("shop.yaml", dangling)}, kept: []string{"shop", "shop2"}},
		"has one beside it that asks":     {docs: []oprc.Document{other, at("shop.yaml", shop("pay:2")), at("shop.yaml", dangling)}, kept: []string{"shop", "shop2"}},
		"is empty":                        {docs: []oprc.Document{other}, found: oprc.Diagnostics{found(oprc.CodeNothing, oprc.SeverityInfo, "shop.yaml", "")}, kept: []string{"shop"}},
		"is foreign":                      {docs: []oprc.Document{other}, found: oprc.Diagnostics{found(oprc.CodeForeign, oprc.SeverityInfo, "shop.yaml", "")}, kept: []string{"shop"}},
		"has an environment":              {docs: []oprc.Document{other, {Path: "shop.yaml", Environment: &oprc.Environment{Name: "edge", Availability: 0.9}}}, kept: []string{"shop"}},
		"is passed over":                  {docs: []oprc.Document{other}, unread: []string{"shop.yaml"}, kept: []string{"shop"}},
		"is as it was, others are empty":  {docs: []oprc.Document{other, at("shop.yaml", shop("pay:1"))}, found: oprc.Diagnostics{found(oprc.CodeNothing, oprc.SeverityInfo, "x.yaml", "")}},
		"is gone, another is wrong":       {docs: []oprc.Document{other}, found: oprc.Diagnostics{wrong("new.yaml", "new")}, kept: []string{"new"}},
		"is gone, a known one is wrong":   {docs: []oprc.Document{at("other.yaml", oprc.Package{Name: "other"})}, found: oprc.Diagnostics{wrong("other.yaml", "other")}, want: []string{"shop delete"}, kept: []string{"other"}},
		"is gone, a known file is wrong":  {docs: []oprc.Document{at("other.yaml", oprc.Package{Name: "other"})}, found: oprc.Diagnostics{wrong("other.yaml", "")}, want: []string{"shop delete"}, kept: []string{"other"}},
		"is gone, another's is wrong":     {docs: []oprc.Document{other}, found: oprc.Diagnostics{wrong("base.yaml", "")}},
		"moved":                           {docs: []oprc.Document{other, at("moved.yaml", shop("pay:1"))}, want: []string{"shop update"}},
		"moved, and is wrong":             {docs: []oprc.Document{other, at("moved.yaml", shop("pay:2"))}, found: oprc.Diagnostics{wrong("moved.yaml", "shop")}, kept: []string{"shop"}},
		"is fine, a chart has its name":   {docs: []oprc.Document{other, at("shop.yaml", shop("pay:2")), at("chart/Chart.yaml", oprc.Package{Name: "shop"})}, found: oprc.Diagnostics{wrong("chart/Chart.yaml", "shop")}, want: []string{"shop update"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := settled(t, "git:a")
			for n, rec := range l.live.Packages {
				rec.Source = &oprc.SourceRef{Name: "a", Path: n + ".yaml"}
				l.live.Packages[n] = rec
			}
			p := plan.Make(plan.Input{
				Documents: documents(oprc.Package{Name: "other"}), Scope: plan.Scope{Origin: "git:a"}, Live: l.live,
			})
			if err := l.apply(p); err != nil {
				t.Fatal(err)
			}
			rec := l.live.Packages["other"]
			rec.Source = &oprc.SourceRef{Name: "a", Path: "other.yaml"}
			l.live.Packages["other"] = rec
			p = plan.Make(plan.Input{
				Documents: tt.docs, Diagnostics: tt.found, Unread: tt.unread, Live: l.live, KeepGoing: true,
				Scope: plan.Scope{Origin: "git:a", Complete: true},
			})
			if diff := cmp.Diff(tt.want, packagesOf(p)); diff != "" {
				t.Errorf("packages: -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tt.kept, p.Kept); diff != "" {
				t.Errorf("kept: -want +got:\n%s", diff)
			}
			for _, d := range tt.found {
				if d.Severity == oprc.SeverityError && len(p.Diagnostics.Errors()) == 0 {
					t.Error("the error is not said")
				}
			}
			if name == "moved" && len(p.Changes) != 1 {
				t.Errorf("changes %v, want the record alone", described(p))
			}
		})
	}
}
