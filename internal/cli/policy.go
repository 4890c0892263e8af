package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/schema"
)

// policyOptions name the transition policies that a plan must pass.
type policyOptions struct {
	patterns []string
	judge    reconcile.Judge // nil without policies
}

func (o *policyOptions) bind(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&o.patterns, "policy", nil, "CUE `file` (or pattern) of a transition policy that must allow the plan; repeats")
	_ = cmd.MarkFlagFilename("policy", "cue")
}

// load reads the policies.
func (o *policyOptions) load() (err error) {
	o.judge, err = policies("", o.patterns)
	return err
}

// review fails if a policy denies what the plan does.
func (o *policyOptions) review(ctx context.Context, p *plan.Plan, by reconcile.Actor) error {
	return reconcile.Review(ctx, o.judge, p, by.Name)
}

// policies reads policy files, relative to a directory. A pattern that nothing
// matches is an error: a policy that is not there would allow everything.
func policies(dir string, patterns []string) (reconcile.Judge, error) {
	files, err := policyFiles(dir, patterns)
	if err != nil || len(files) == 0 {
		return nil, err
	}
	return schema.Policies(files)
}

// policyFiles reads the files of policies, in the order of their patterns.
func policyFiles(dir string, patterns []string) ([]oprc.File, error) {
	var files []oprc.File
	for _, pattern := range patterns {
		at := pattern
		if dir != "" && !filepath.IsAbs(at) {
			at = filepath.Join(dir, at)
		}
		paths, err := filepath.Glob(at)
		if err != nil {
			return nil, fmt.Errorf("%w policy pattern %q: %w", oprc.ErrInvalid, pattern, err)
		}
		if len(paths) == 0 {
			return nil, fmt.Errorf("policy %s: %w", pattern, oprc.ErrNotFound)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("policy: %w", err)
			}
			files = append(files, oprc.File{Path: path, Data: data})
		}
	}
	return files, nil
}
