package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

type invokeOptions struct {
	*env
	class, binding string
	data           string
	environment    string
	timeout        time.Duration
}

func newInvoke(e *env) *cobra.Command {
	o := &invokeOptions{env: e}
	cmd := &cobra.Command{
		Use:   "invoke CLASS FUNCTION",
		Short: "Call a function of a class where it runs",
		Long: `Posts JSON to the invocation URL that a RUNNING unit of the class reports, and
prints the answer. FUNCTION is the name of a binding of the class, or "" for its
default route. Primaries are preferred. Only PUBLIC bindings can be called from
outside, and none that is on standby.

The URL must be reachable from here: what it is depends on the runtime.` +
			exits(exitOK, exitError, exitInvalid, exitNotFound, exitUnavailable, exitDenied, exitUsage),
		Example: `  oprc invoke hello.greeter greet -d '{"name": "Ann"}'
  oprc invoke hello.greeter greet -d @request.json --env edge`,
		Args:              args(cobra.ExactArgs(2), oprc.KindClass),
		ValidArgsFunction: e.completeNames(oprc.KindDeployment),
		RunE: func(cmd *cobra.Command, words []string) error {
			o.class, o.binding = words[0], words[1]
			return o.run(cmd.Context())
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.data, "data", "d", "{}", "`JSON` to send, or @FILE, or @- for stdin")
	fs.StringVar(&o.environment, "env", "", "call it in this `environment`")
	fs.DurationVar(&o.timeout, "timeout", 30*time.Second, "the longest that the call may take")
	return cmd
}

func (o *invokeOptions) run(ctx context.Context) error {
	body, err := o.body()
	if err != nil {
		return err
	}
	var url string
	err = o.with(ctx, func(s *state) error {
		units, err := s.List(ctx, oprc.KindUnit)
		if err != nil {
			return err
		}
		url, err = o.target(units)
		return err
	})
	if err != nil {
		return err
	}
	return o.call(ctx, url, body)
}

func (o *invokeOptions) body() (string, error) {
	file, isFile := strings.CutPrefix(o.data, "@")
	switch {
	case !isFile:
		return o.data, nil
	case file == "-":
		text, err := io.ReadAll(o.in)
		return string(text), err
	}
	text, err := os.ReadFile(file)
	return string(text), err
}

// target picks the unit to call: one that runs, a primary if there is one.
func (o *invokeOptions) target(objects []reconcile.Object) (string, error) {
	var units []*reconcile.UnitView
	for _, ob := range objects {
		if u, ok := ob.Doc.(*reconcile.UnitView); ok && u.Unit.ClsKey == o.class && (o.environment == "" || u.Unit.TargetEnv == o.environment) {
			units = append(units, u)
		}
	}
	if len(units) == 0 {
		return "", fmt.Errorf("class %q is not deployed%s: %w", o.class, o.place(), oprc.ErrNotFound)
	}
	slices.SortStableFunc(units, func(a, b *reconcile.UnitView) int { return cmp.Compare(rankOf(a), rankOf(b)) })
	var refused error
	for _, u := range units {
		b, err := o.bindingOf(u.Unit)
		if err != nil {
			refused = err
			continue
		}
		f := oprc.FunctionStatus{}
		if u.Status != nil {
			f = u.Status.Functions[b.Function]
		}
		if f.InvocationURL != "" && (f.Condition == oprc.Running || u.Condition == oprc.Running) {
			return f.InvocationURL, nil
		}
		refused = stepError{
			fmt.Errorf("no unit of %s that runs reports a URL of function %s: %w", o.class, b.Function, oprc.ErrNotFound),
			"Look why: oprc why deployment " + o.class,
		}
	}
	return "", refused
}

func (o *invokeOptions) place() string {
	if o.environment == "" {
		return ""
	}
	return " in environment " + o.environment
}

// rankOf puts what can best answer first.
func rankOf(u *reconcile.UnitView) int {
	switch {
	case u.Condition == oprc.Running && u.Unit.Primary:
		return 0
	case u.Condition == oprc.Running:
		return 1
	}
	return 2
}

// bindingOf finds the binding in a unit, if it may be called from here.
func (o *invokeOptions) bindingOf(u oprc.DeploymentUnit) (oprc.UnitBinding, error) {
	i := slices.IndexFunc(u.Bindings, func(b oprc.UnitBinding) bool {
		return b.Name == o.binding || o.binding == "" && b.DefaultRoute
	})
	if i < 0 {
		names := make([]string, len(u.Bindings))
		for i, b := range u.Bindings {
			names[i] = b.Name
		}
		return oprc.UnitBinding{}, fmt.Errorf("class %s has no function %q, it has %s: %w", o.class, o.binding, strings.Join(names, ", "), oprc.ErrNotFound)
	}
	switch b := u.Bindings[i]; {
	case b.Access != oprc.Public:
		return b, fmt.Errorf("function %s of %s is %s, so it is called by macros only: %w", b.Name, o.class, b.Access, oprc.ErrDenied)
	case b.Standby:
		return b, fmt.Errorf("function %s of %s is on standby in %s: %w", b.Name, o.class, u.TargetEnv, oprc.ErrNotFound)
	default:
		return b, nil
	}
}

func (o *invokeOptions) call(ctx context.Context, url, body string) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("call %s: %w", url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= http.StatusBadRequest {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return fmt.Errorf("call %s: %s: %s", url, resp.Status, strings.TrimSpace(string(text)))
	}
	last := &lastByte{w: o.out}
	if _, err := io.Copy(last, resp.Body); err != nil {
		return fmt.Errorf("call %s: %w", url, errors.Join(err, ctx.Err()))
	}
	if last.b != '\n' {
		_, err = io.WriteString(o.out, "\n")
	}
	return err
}

// lastByte remembers how what was written ended.
type lastByte struct {
	w io.Writer
	b byte
}

func (l *lastByte) Write(p []byte) (int, error) {
	if len(p) > 0 {
		l.b = p[len(p)-1]
	}
	return l.w.Write(p)
}
