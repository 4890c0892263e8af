package cli_test

import (
	"strings"
	"testing"
)

func TestGetChooses(t *testing.T) {
	u := newUser(t)
	u.file("shop.yaml", "name: shop\nfunctions: [{name: f, provision: {docker: {image: a}}}]\nclasses: [{name: cart, functions: [{function: .f}]}, {name: order}]\ndeployments: [{_key: .cart, partitionCount: 2, targetEnvs: [edge-1]}, {_key: .order, targetEnvs: [edge-2]}]\n")
	u.file("blog.yaml", "name: blog\nclasses: [{name: post}]\ndeployments: [{_key: .post, targetEnvs: [edge-1]}]\n")
	u.file("envs.yaml", "kind: Environment\nname: edge-1\navailability: 0.9\nlabels: {region: eu}\n---\nkind: Environment\nname: edge-2\navailability: 0.9\nlabels: {region: us}\n")
	u.must("apply", "-f", u.home, "--yes")
	tests := map[string]struct{ line, want string }{
		"package":        {"get deployments --package shop -o name", "deployment/shop.cart\ndeployment/shop.order\n"},
		"environment":    {"get deployments --env edge-1 -o name", "deployment/blog.post\ndeployment/shop.cart\n"},
		"condition":      {"get units --condition pending --env edge-2 -o name", "unit/shop.order/0/0@edge-2\n"},
		"labels":         {"get environments -l region=eu -o name", "environment/edge-1\n"},
		"labels, not":    {"get environments -l region,region!=eu -o name", "environment/edge-2\n"},
		"sorted":         {"get deployments --sort-by partitions -o jsonpath={.items[*].key}", "blog.post shop.order shop.cart\n"},
		"sorted by path": {"get deployments --sort-by .targetEnvs -o jsonpath={.items[*].key}", "blog.post shop.cart shop.order\n"},
		"limit":          {"get packages --limit 1 -o name", "package/blog\n"},
		"columns":        {"get packages --package shop -o custom-columns=A:.key,B:.spec.nope", "A      B\nshop   <none>\n"},
		"template":       {"get packages -o go-template={{range.items}}{{.key}};{{end}}", "blog;shop;\n"},
		"one by path":    {"get deployment/shop.cart -o jsonpath={.partitionCount}", "2\n"},
		"slashed":        {"get package/shop environment/edge-1 package/blog -o name", "package/shop\npackage/blog\nenvironment/edge-1\n"},
		"several kinds":  {"get pkg,env --package shop -o name", "package/shop\nenvironment/edge-1\nenvironment/edge-2\nenvironment/local\n"},
	}
	for name, tt := range tests {
		if got := u.must(strings.Fields(tt.line)...); got != tt.want {
			t.Errorf("%s: got\n%swant\n%s", name, got, tt.want)
		}
	}
	if got := u.must("get", "all"); !strings.Contains(got, "PACKAGE\nNAME") || !strings.Contains(got, "\n\nDEPLOYMENT\nKEY") {
		t.Errorf("all:\n%s", got)
	}
	if got := u.must("get", "packages", "--no-headers"); strings.Contains(got, "NAME") || strings.Count(got, "\n") != 2 {
		t.Errorf("no headers:\n%s", got)
	}
	for _, line := range []string{
		"get", "get pakages", "get packages,nope", "get packages --env edge-1", "get crms --package shop", "get packages -l a=b", "get environments -l a=b=c",
		"get packages --sort-by nope", "get packages -o jsonpath={", "get packages -o custom-columns=A", "get packages -o jsonpath", "get packages,units shop", "get package/shop unit", "describe package",
	} {
		if got := u.run(strings.Fields(line)...); got.code != 64 {
			t.Errorf("%s: got %+v, want exit 64", line, got)
		}
	}
	if got := u.run("get", "package/nope"); got.code != 6 {
		t.Errorf("a wrong name: %+v", got)
	}
	if got := u.must("describe", "deployment/shop.cart"); !strings.Contains(got, "shop.cart") {
		t.Errorf("describe:\n%s", got)
	}
}
