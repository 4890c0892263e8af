package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/oaas-platform/oprc/crm/workload"
)

// A starter starts a function's process.
type starter struct {
	*Driver
	w       workload.Workload
	command Command
}

// Start gives the process a port of its own.
func (s starter) Start(ctx context.Context) (workload.Instance, error) {
	env, err := workload.Environ(ctx, s.w.Env, s.o.Secrets)
	if err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	log, err := s.open(s.w)
	if err != nil {
		return nil, err
	}
	out := &tail{next: log}
	p, err := startGroup(s.command, append(env, "HOST=127.0.0.1", "PORT="+strconv.Itoa(port)), out)
	if err != nil {
		log.end()
		return nil, err
	}
	return &instance{p, out, log, port}, nil
}

// open returns where the function's lines go.
func (d *Driver) open(w workload.Workload) (*named, error) {
	n := &named{to: d.log, name: w.Function}
	if d.o.LogDir == "" {
		return n, nil
	}
	file, err := openLog(filepath.Join(d.o.LogDir, LogName(w.Unit, w.Function)))
	n.file = file
	return n, err
}

// LogName is the name of the file in a directory of logs that holds what a function of
// a unit printed.
func LogName(unit, function string) string { return workload.Name(unit, function) + ".log" }

// An instance is a process.
type instance struct {
	p    *group
	out  *tail
	log  *named
	port int
}

func (i *instance) Name() string { return fmt.Sprintf("pid-%d:%d", i.p.pid(), i.port) }

func (i *instance) URL() string {
	return "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(i.port))
}

// Wait says how the process ended, and what it said last.
func (i *instance) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-i.p.ended:
	}
	i.log.end()
	how := "exited with status 0"
	if err := i.p.err; err != nil {
		how = "exited: " + err.Error()
	}
	if last := i.out.last(); last != "" {
		how += ": " + last
	}
	return errors.New(how)
}

func (i *instance) Stop(_ context.Context, grace time.Duration) {
	i.p.stop(grace)
	i.log.end()
}

// freePort returns a port on which nobody listens now.
func freePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}
