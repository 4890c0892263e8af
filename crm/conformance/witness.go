package conformance

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A Witness is what a workload says of itself where it answers GET /conformance below
// its invocationUrl. No workload has to: with it the suite sees what runs, and need not
// believe the reports.
type Witness struct {
	Instance string            `json:"instance"` // another one after each start
	Env      map[string]string `json:"env"`      // its environment variables, of CONFORMANCE_ at least
}

// ask asks the workload that a report names; nil if it is no witness.
func ask(ctx context.Context, r oprc.Report) *Witness {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, f := range r.Functions {
		if !strings.HasPrefix(f.InvocationURL, "http") {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(f.InvocationURL, "/")+"/conformance", nil)
		if err != nil {
			continue
		}
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // what answered before may be gone
		resp, err := client.Do(req)
		if err != nil {
			continue
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		_ = resp.Body.Close()
		var w Witness
		if err == nil && json.Unmarshal(body, &w) == nil && w.Instance != "" {
			return &w
		}
	}
	return nil
}

// An evidence is all that can be known of what runs.
type evidence struct {
	report  oprc.Report
	witness *Witness
}

func (s *suite) evidence(ctx context.Context, r oprc.Report) evidence {
	return evidence{r, ask(ctx, r)}
}

// otherThan returns why what runs cannot be what ran before, or "".
func (e evidence) otherThan(before evidence) string {
	switch {
	case e.witness != nil && before.witness != nil:
		if e.witness.Instance != before.witness.Instance {
			return "the workload is another one: instance " + e.witness.Instance + " after " + before.witness.Instance
		}
		return ""
	case len(before.report.Replicas) > 0 && len(e.report.Replicas) > 0 && !slices.ContainsFunc(e.report.Replicas, func(name string) bool {
		return slices.Contains(before.report.Replicas, name)
	}):
		return "all its replicas are others: " + strings.Join(e.report.Replicas, ", ") + " after " + strings.Join(before.report.Replicas, ", ")
	}
	return ""
}

// runs says whether the workload runs a variant; known is false where it does not say.
func (e evidence) runs(variant string) (is, known bool) {
	if e.witness == nil {
		return false, false
	}
	v, known := e.witness.Env[Variant]
	return v == variant, known
}
