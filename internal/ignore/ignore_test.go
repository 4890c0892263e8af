package ignore_test

import (
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/ignore"
)

func TestMatch(t *testing.T) {
	rules := ignore.Rules{}.
		With([]byte("\ufeff# what is not ours\r\nchart/\r\n*.json\n!keep.json\n/values.yaml  \n\ndeep/**/x.yaml\n"), nil).
		With([]byte("local.yaml\n!../chart/\n/top.yaml\n"), []string{"team"})
	tests := map[string]bool{
		"chart/":          true,
		"team/chart/":     true,
		"chart":           false, // a file
		"a.json":          true,
		"team/b.json":     true,
		"keep.json":       false,
		"values.yaml":     true,
		"a/values.yaml":   false,
		"deep/x.yaml":     true,
		"deep/a/b/x.yaml": true,
		"local.yaml":      false,
		"team/local.yaml": true,
		"team/top.yaml":   true,
		"team/a/top.yaml": false,
	}
	for name, want := range tests {
		segments := strings.Split(strings.TrimSuffix(name, "/"), "/")
		if got := rules.Match(segments, strings.HasSuffix(name, "/")); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if (ignore.Rules{}).Match([]string{"a.yaml"}, false) {
		t.Error("no rules name a file")
	}
}
