package process

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// A supervisor keeps one function running.
type supervisor struct {
	Options
	log     *lines
	unit    *unit
	key     string
	command Command
	env     []string
}

// How a function is looked at.
const (
	firstProbe   = 50 * time.Millisecond // between two looks while it starts
	probeTime    = time.Second           // for one answer
	missedProbes = 3                     // in a row; then it is started again
	firstRestart = 500 * time.Millisecond
	lastRestart  = 30 * time.Second
	calm         = time.Minute // a function that ran so long begins anew with the waits
)

// run starts the function, and starts it again, until ctx ends. It leaves nothing
// running.
func (s *supervisor) run(ctx context.Context) {
	for failures := 0; ; {
		began := time.Now()
		err := s.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > calm {
			failures = 0
		}
		failures++
		s.unit.set(s.key, "", crm.FunctionStatus{Condition: crm.Down, ErrorMsg: err.Error()})
		wait := time.NewTimer(min(firstRestart<<min(failures-1, 10), lastRestart))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
	}
}

// once runs the function until it exits, stops answering, or ctx ends, and says
// why. Its processes are gone when it returns.
func (s *supervisor) once(ctx context.Context) error {
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	out := &tail{next: s.log.named(s.key)}
	p, err := startGroup(s.command, append(slices.Clone(s.env), "PORT="+strconv.Itoa(port)), out)
	if err != nil {
		return err
	}
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	verdict := make(chan error, 1)
	var watching sync.WaitGroup
	watching.Go(func() { verdict <- s.watch(watch, p.pid(), port) })
	select {
	case err = <-p.exited:
		cancel()
		watching.Wait()
		p.stop(0)
		return exitError(err, out.last())
	case err = <-verdict:
		p.stop(s.Grace)
		return err
	}
}

// watch reports RUNNING when the function answers, and returns when it no longer
// does, never did, or ctx ends.
func (s *supervisor) watch(ctx context.Context, pid, port int) error {
	base := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	url := base + cmp.Or(s.command.HealthPath, "/health")
	patience := cmp.Or(time.Duration(s.command.StartTime), 2*time.Minute)
	client := &http.Client{
		Timeout:       probeTime,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	began, missed, up := time.Now(), 0, false
	for {
		err := probe(ctx, client, url)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			up, missed = true, 0
			s.unit.set(s.key, fmt.Sprintf("pid-%d:%d", pid, port), crm.FunctionStatus{Condition: crm.Running, InvocationURL: base})
		case !up && time.Since(began) > patience:
			return fmt.Errorf("did not answer at %s within %s: %w", s.path(), patience, err)
		case up:
			if missed++; missed == missedProbes {
				return fmt.Errorf("stopped answering at %s: %w", s.path(), err)
			}
		}
		every := firstProbe
		if up {
			every = s.Probe
		}
		t := time.NewTimer(every)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

func (s *supervisor) path() string { return cmp.Or(s.command.HealthPath, "/health") }

func probe(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
	if resp.StatusCode >= 400 {
		return errors.New(resp.Status)
	}
	return nil
}

// exitError says how a process ended, and what it said last.
func exitError(err error, last string) error {
	how := "exited with status 0"
	if err != nil {
		how = "exited: " + err.Error()
	}
	if last != "" {
		how += ": " + last
	}
	return errors.New(how)
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

// environment is what a function is told: by its image's provision, its config, the
// images file, and who it is; later ones win.
func environment(u crm.Unit, f crm.Function, c Command) []string {
	all := map[string]string{}
	p := u.Provision[f.Key]
	for _, env := range []oprc.Env{knativeEnv(p), dockerEnv(p), deploymentEnv(p), f.Config.Env} {
		for k, v := range env {
			all[k] = v.Text
		}
	}
	maps.Copy(all, c.Env)
	all["OPRC_UNIT"], all["OPRC_CLASS"], all["OPRC_FUNCTION"] = u.ID, u.ClsKey, f.Key
	all["OPRC_PARTITION"] = strconv.Itoa(u.PartitionInfo.PartitionID)
	all["OPRC_REPLICA"] = strconv.Itoa(u.PartitionInfo.ReplicaID)
	var out []string
	for k, v := range all {
		if k != "" && !strings.ContainsAny(k, "=\x00") && !strings.Contains(v, "\x00") {
			out = append(out, k+"="+v)
		}
	}
	slices.Sort(out)
	return out
}

// lines passes on what functions print, whole lines at a time.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) named(name string) io.Writer { return &named{l, name, nil} }

type named struct {
	to      *lines
	name    string
	pending []byte
}

// maxLine is where a line without an end is broken.
const maxLine = 8 << 10

func (n *named) Write(p []byte) (int, error) {
	n.pending = append(n.pending, p...)
	for {
		end := bytes.IndexByte(n.pending, '\n')
		if end < 0 && len(n.pending) < maxLine {
			return len(p), nil
		}
		if end < 0 {
			end = maxLine - 1
		}
		n.to.mu.Lock()
		_, _ = fmt.Fprintf(n.to.w, "%s: %s\n", n.name, bytes.TrimRight(n.pending[:end], "\r\n"))
		n.to.mu.Unlock()
		n.pending = n.pending[end+1:]
	}
}

// A tail passes on what a process prints and remembers the end of it.
type tail struct {
	next io.Writer
	mu   sync.Mutex
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - 2048; over > 0 {
		t.kept = t.kept[over:]
	}
	t.mu.Unlock()
	return t.next.Write(p)
}

// last returns the last line that says something.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(strings.ToValidUTF8(string(t.kept), "?"))
	return text[strings.LastIndexByte(text, '\n')+1:]
}
