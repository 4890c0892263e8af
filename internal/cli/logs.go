package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/oaas-platform/oprc/crm/process"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

type logsOptions struct {
	*env
	key      string
	function string
	follow   bool
}

func newLogs(e *env) *cobra.Command {
	o := &logsOptions{env: e}
	cmd := &cobra.Command{
		Use:   "logs UNIT|DEPLOYMENT",
		Short: "Print what the functions of a unit or deployment print",
		Long: `Prints what the replicas that serve a unit, or all units of a deployment, have
printed, each line with the function's key or the replica's name in front.

What the process driver runs is read from files of this machine; containers and pods
through oprc-crm, which uses the container engine (DOCKER_HOST) or the cluster
(KUBECONFIG) that this machine is set up for.` +
			exits(exitOK, exitError, exitNotFound, exitUnavailable, exitUsage, exitInterrupted),
		Example: `  oprc logs hello.greeter
  oprc logs hello.greeter/0/0@edge -f --function hello.greet`,
		Args:              args(cobra.ExactArgs(1), oprc.KindUnit, oprc.KindDeployment),
		ValidArgsFunction: e.completeNames(oprc.KindDeployment),
		RunE: func(cmd *cobra.Command, words []string) error {
			o.key = words[0]
			return o.run(cmd.Context())
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.follow, "follow", "f", false, "go on until it is stopped")
	fs.StringVar(&o.function, "function", "", "only this function, by its `key`")
	return cmd
}

func (o *logsOptions) run(ctx context.Context) error {
	var units []*reconcile.UnitView
	err := o.with(ctx, func(s *state) error {
		objects, err := s.List(ctx, oprc.KindUnit)
		for _, ob := range objects {
			if u, ok := ob.Doc.(*reconcile.UnitView); ok && (u.Unit.ID == o.key || u.Unit.ClsKey == o.key) {
				units = append(units, u)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(units) == 0 {
		return fmt.Errorf("unit or deployment %q: %w", o.key, oprc.ErrNotFound)
	}
	followers := o.followers(units)
	if len(followers) == 0 {
		return fmt.Errorf("no replica of %s prints anywhere that this command knows: %w", o.key, oprc.ErrNotFound)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range followers {
		g.Go(func() error { return f(ctx) })
	}
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// followers are what copies each replica's lines.
func (o *logsOptions) followers(units []*reconcile.UnitView) []func(context.Context) error {
	out := &lineWriter{w: o.out}
	var all []func(context.Context) error
	for _, u := range units {
		if dir := o.logDir(); dir != "" {
			for _, f := range u.Unit.Functions {
				file := filepath.Join(dir, process.LogName(u.Unit.ID, f.Key))
				if _, err := os.Stat(file); err == nil && (o.function == "" || o.function == f.Key) {
					all = append(all, func(ctx context.Context) error { return o.file(ctx, out, f.Key, file) })
				}
			}
		}
		if u.Status == nil {
			continue
		}
		for _, replica := range u.Status.Replicas {
			if engine, _, ok := strings.Cut(replica, "/"); ok && (engine == "docker" || engine == "pod") && o.wants(u, replica) {
				all = append(all, func(ctx context.Context) error { return o.external(ctx, out, replica) })
			}
		}
	}
	return all
}

// wants reports whether a replica is of the function that is asked for: its name has
// the end of the name that is made of unit and function, which differs for each.
func (o *logsOptions) wants(u *reconcile.UnitView, replica string) bool {
	if o.function == "" {
		return true
	}
	return slices.ContainsFunc(u.Unit.Functions, func(f oprc.UnitFunction) bool {
		name := strings.TrimSuffix(process.LogName(u.Unit.ID, f.Key), ".log")
		return f.Key == o.function && strings.Contains(replica, name[strings.LastIndexByte(name, '-'):])
	})
}

// external has oprc-crm print a replica's lines.
func (o *logsOptions) external(ctx context.Context, out *lineWriter, replica string) error {
	program, err := findCRMProgram()
	if err != nil {
		return err
	}
	args := []string{"logs", replica}
	if o.follow {
		args = append(args, "--follow")
	}
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // it is our own
	cmd.Env = o.environ
	pipe, in := io.Pipe()
	var copying sync.WaitGroup
	copying.Go(func() { out.copy(replica[strings.LastIndexByte(replica, '/')+1:], pipe) })
	err = o.runChild(ctx, cmd, in)
	_ = in.Close()
	copying.Wait()
	return err
}

// file prints a file's lines, and with --follow those that are appended.
func (o *logsOptions) file(ctx context.Context, out *lineWriter, name, file string) error {
	for {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		again, err := o.one(ctx, out, name, file, f)
		_ = f.Close()
		if err != nil || !again {
			return err
		}
	}
}

// one prints one file until it ends; again is true where another has taken its name.
func (o *logsOptions) one(ctx context.Context, out *lineWriter, name, file string, f *os.File) (again bool, err error) {
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			out.line(name, strings.TrimSuffix(line, "\n"))
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) || !o.follow {
			return false, nil
		}
		if !reconcile.Sleep(ctx, 200*time.Millisecond) {
			return false, nil
		}
		was, err1 := f.Stat()
		is, err2 := os.Stat(file)
		if err1 == nil && err2 == nil && !os.SameFile(was, is) {
			return true, nil
		}
	}
}

// A lineWriter writes the lines of several sources, each whole.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lineWriter) line(name, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintf(l.w, "%s: %s\n", name, text)
}

func (l *lineWriter) copy(name string, r io.Reader) {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			l.line(name, strings.TrimSuffix(line, "\n"))
		}
		if err != nil {
			return
		}
	}
}
