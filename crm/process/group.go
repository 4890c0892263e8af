package process

import (
	"io"
	"os/exec"
	"strings"
	"time"
)

// A group is a process with all that it started.
type group struct {
	cmd   *exec.Cmd
	guard *guard
	err   error         // how the process ended
	ended chan struct{} // closed when it has, and all that it printed was passed on
}

// startGroup starts a command in a group of its own.
func startGroup(c Command, env []string, out io.Writer) (*group, error) {
	g, err := newGuard()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(c.Command[0], c.Command[1:]...) //nolint:gosec // the operator's images file says what runs
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Dir, out, out
	cmd.WaitDelay = time.Second // for output of grandchildren that outlive it
	cmd.Env = append(public(cmd.Environ()), env...)
	g.adopt(cmd)
	if err := cmd.Start(); err != nil {
		g.release()
		return nil, err
	}
	p := &group{cmd: cmd, guard: g, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// public drops what is this program's own: its variables may hold passwords.
func public(env []string) []string {
	var out []string
	for _, v := range env {
		if !strings.HasPrefix(v, "OPRC_") && !strings.HasPrefix(v, "OAAS_") {
			out = append(out, v)
		}
	}
	return out
}

func (p *group) pid() int { return p.cmd.Process.Pid }

// stop asks the group to end, kills what is left after grace, and waits.
func (p *group) stop(grace time.Duration) {
	select {
	case <-p.ended:
	default:
		if grace > 0 {
			p.guard.terminate(p.cmd)
			select {
			case <-p.ended:
			case <-time.After(grace):
			}
		}
	}
	p.guard.kill(p.cmd)
	<-p.ended
	p.guard.release()
}
