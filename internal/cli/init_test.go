package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every template is valid as it is written, in canonical form, and names a schema that
// is there.
func TestInit(t *testing.T) {
	u := newUser(t)
	for _, template := range []string{"class", "macro", "environment"} {
		path := strings.TrimSpace(u.must("init", "my-"+template, "--template", template, "--dir", u.home))
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		_, at, ok := strings.Cut(line, "# yaml-language-server: $schema=")
		if _, err := os.Stat(filepath.Join(u.home, at)); !ok || err != nil {
			t.Errorf("%s: first line %q names no schema: %v", template, line, err)
		}
		if got := u.must("validate", "-f", path); strings.Contains(got, "warning") {
			t.Errorf("%s: %s", template, got)
		}
		if got := u.must("fmt", "--check", path); got != "" {
			t.Errorf("%s is not in canonical form: %s", template, got)
		}
		if strings.Contains(string(text), "NAME") && !strings.Contains(string(text), "my-"+template) {
			t.Errorf("%s: the name is not filled in", template)
		}
	}
	if got := u.run("init", "my-class", "--dir", u.home); got.code != 1 || !strings.Contains(got.err, "exists already") {
		t.Errorf("a second time: %+v", got)
	}
	if got := u.run("init", "a/b"); got.code != 64 {
		t.Errorf("a name that is none: %+v", got)
	}
}

// What is exported is applied again without a change; secrets are not in it unasked.
func TestExport(t *testing.T) {
	u := newUser(t)
	old := strings.Replace(shop, "API_TOKEN: s3cr3t", `API_TOKEN: s3cr3t, AT: "1:30", EQ: "=", ON: "on"`, 1)
	old = strings.Replace(old, "- name: cart\n", "- name: cart\n  config: {most: 1e21}\n", 1)
	u.must("apply", "-f", u.file("shop.yaml", old))
	if got := u.run("export", "shop"); got.code != 0 || strings.Contains(got.out, "s3cr3t") || !strings.Contains(got.err, "Masked values: 1") {
		t.Errorf("export: %+v", got)
	}
	dir := filepath.Join(u.home, "out")
	u.must("export", "--dir", dir, "--environments", "--mask", "")
	text, err := os.ReadFile(filepath.Join(dir, "shop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"API_TOKEN: s3cr3t", "AT: '1:30'", "EQ: '='", "'ON': 'on'", "most: 1.0e+21"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if got := u.must("plan", "-f", dir); !strings.HasPrefix(got, "No changes.") {
		t.Errorf("plan of what was exported:\n%s", got)
	}
	if got := u.run("export", "shpo"); got.code != 6 || !strings.Contains(got.err, "Did you mean shop?") {
		t.Errorf("export of a wrong name: %+v", got)
	}
}
