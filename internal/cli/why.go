package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

type whyOptions struct {
	*env
	output view.Format
}

func newWhy(e *env) *cobra.Command {
	o := &whyOptions{env: e}
	cmd := &cobra.Command{
		Use:   "why [KIND] KEY",
		Short: "Explain why an object is not running, and what to do",
		Long: `Prints the shortest chain of causes of the state of a package, deployment, unit,
source or environment: each line is so because of the next. Where something can be
done the last line is the command.` +
			exits(exitOK, exitError, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example:           "  oprc why shop\n  oprc why shop.cart/0/0@edge-1\n  oprc why source main",
		Args:              args(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: e.completeKindAndNames,
		RunE: func(cmd *cobra.Command, words []string) error {
			var kind oprc.Kind
			words = unslashed(words)
			if len(words) == 2 {
				k, err := parseKind(words[0])
				if err != nil {
					return err
				}
				kind = k.kind
			}
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, kind, words[len(words)-1]) })
		},
	}
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
	return cmd
}

func (o *whyOptions) run(ctx context.Context, s *state, kind oprc.Kind, key string) error {
	x, err := reconcile.Why(ctx, s, kind, key, o.now())
	if errors.Is(err, oprc.ErrNotFound) {
		if past := s.deleted(ctx, kind, key); past != nil {
			return past
		}
		near := s.didYouMean(ctx, key, oprc.KindPackage, oprc.KindDeployment, oprc.KindUnit, oprc.KindSource, oprc.KindEnv)
		return stepError{err, near + fmt.Sprintf("It explains packages, deployments, units, sources and environments of the %s: oprc get lists them.", s.where)}
	}
	if err != nil {
		return err
	}
	var next string
	for _, c := range x.Causes {
		if len(c.Next) > 0 {
			next = o.next(s, c.Next)
		}
	}
	if err := o.env.output(o.output).Why(x, next); err != nil || x.Good {
		return err
	}
	if missing := o.missingDaemon(ctx, s); missing != "" {
		o.hint(missing)
	}
	return nil
}

// next is a command line that reaches the same state; what only a Redis can serve says
// so.
func (o *whyOptions) next(s *state, words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	if s.db == nil && words[0] == "crm" {
		return "oprc --redis URL " + strings.Join(quoted, " ")
	}
	return o.command(quoted...)
}
