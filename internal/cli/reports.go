package cli

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/google/renameio/v2/maybe"

	"github.com/oaas-platform/oprc/internal/view"
)

// writeReports writes a plan into the files of --report, each in its format.
func (o *planOptions) writeReports(report view.PlanReport) error {
	for _, r := range o.reports {
		name, file, ok := strings.Cut(r, "=")
		format, err := view.ParseFormat(name, view.Text, view.Wide, view.JSON, view.YAML, view.Markdown, view.GitHub, view.SARIF)
		if err != nil || !ok || name == "" || file == "" {
			return usagef("--report %s: write FORMAT=FILE, with a format of -o", r)
		}
		var b bytes.Buffer
		out := o.view()
		out.W, out.Format = view.NewWriter(&b, nil, view.ColorNever), format
		if err := out.Report(report); err != nil {
			return err
		}
		if err := maybe.WriteFile(file, b.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}
