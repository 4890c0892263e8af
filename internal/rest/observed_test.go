package rest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/rest"
)

var (
	described = regexp.MustCompile(`fqName: "(oprc_[a-z_]+)".*constLabels: \{([^}]*)\}, variableLabels: \{([a-z,]*)\}`)
	used      = regexp.MustCompile(`(oprc_[a-z_]+)(?:\{([^{}]*)\})?`)
	suffix    = regexp.MustCompile(`_(bucket|count|sum)$`)
)

// metricLabels returns the labels of every metric of ours.
func metricLabels(t *testing.T) map[string][]string {
	t.Helper()
	m := rest.NewMetrics()
	m.Reports(func() ingest.Counts { return ingest.Counts{} })
	ch, out := make(chan *prometheus.Desc), map[string][]string{}
	go func() {
		defer close(ch)
		m.Describe(ch)
	}()
	for d := range ch {
		if found := described.FindStringSubmatch(d.String()); found != nil {
			out[found[1]] = append(labelsOf(found[2], false), labelsOf(found[3], true)...)
		}
	}
	return out
}

// What dashboards, alerts and the documentation name is there, with these labels; and
// the documentation names all of it.
func TestMetricsAreWhatOthersRelyOn(t *testing.T) {
	known := metricLabels(t)
	if len(known) < 15 {
		t.Fatalf("only %d metrics: %v", len(known), known)
	}
	scraped := []string{"job", "instance", "le"} // from the scrape, or of a histogram
	documented := map[string]bool{}
	for _, file := range []string{"deploy/grafana/oprc.json", "deploy/prometheus/oprc.rules.yml", "deploy/prometheus/oprc.test.yml", "docs/operate.md"} {
		data, err := os.ReadFile(filepath.Join("../..", file))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, found := range used.FindAllStringSubmatch(string(data), -1) {
			name := suffix.ReplaceAllString(found[1], "")
			labels, ok := known[name]
			if !ok {
				t.Errorf("%s names %s, which is no metric", file, found[1])
				continue
			}
			n++
			documented[name] = documented[name] || strings.HasPrefix(file, "docs")
			for _, l := range labelsOf(found[2], strings.HasPrefix(file, "docs")) {
				if !slices.Contains(labels, l) && !slices.Contains(scraped, l) {
					t.Errorf("%s: %s has no label %s, it has %v", file, name, l, labels)
				}
			}
		}
		if n < 5 {
			t.Errorf("%s names only %d metrics", file, n)
		}
	}
	for name := range known {
		if !documented[name] {
			t.Errorf("docs/operate.md does not tell of %s", name)
		}
	}
}

// labelsOf returns the labels in braces: a list of them, or of what they have to be.
func labelsOf(braces string, list bool) []string {
	var out []string
	for part := range strings.SplitSeq(braces, ",") {
		if name, _, is := strings.Cut(strings.TrimSpace(part), "="); name != "" && (is || list) {
			out = append(out, strings.TrimRight(name, "!"))
		}
	}
	return out
}
