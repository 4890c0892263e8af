package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/renameio/v2/maybe"

	"github.com/oaas-platform/oprc/internal/dirsource"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/view"
)

// packageFiles reads what -f names.
func (e *env) packageFiles(paths []string) ([]oprc.File, error) {
	if len(paths) == 0 {
		return nil, usagef("no files given: name files or directories with -f PATH, or - for stdin")
	}
	return dirsource.Read(paths, e.in)
}

func contents(files []oprc.File) map[string][]byte {
	out := make(map[string][]byte, len(files))
	for _, f := range files {
		out[f.Path] = f.Data
	}
	return out
}

// readPlan reads a plan file.
func readPlan(path string) (*plan.Plan, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("plan file %s: %w", path, oprc.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("plan file: %w", err)
	}
	p, err := plan.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// writePlan saves a plan, whole or not at all. It holds secrets: only its owner
// may read it.
func writePlan(path string, p *plan.Plan) error {
	data, err := plan.Encode(p)
	if err != nil {
		return err
	}
	if err := maybe.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	return nil
}

// tellFindings prints a plan's findings for a person, on stderr.
func (e *env) tellFindings(files []oprc.File, ds oprc.Diagnostics, mask []string) error {
	out, found := view.Output{W: e.err, Mask: mask}, view.Findings{Files: len(files), Diagnostics: ds, Contents: contents(files)}
	if ds.Err() != nil {
		return out.Findings(found)
	}
	return out.Remarks(found)
}
