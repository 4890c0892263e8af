//go:build unix

package process

import (
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// A guard leads a process group and kills it when this program dies: it reads from
// a pipe that ends then, whatever the death was.
type guard struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

func newGuard() (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", `trap "" TERM INT HUP; read -r _; kill -KILL 0`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("process group: %w", err)
	}
	return &guard{cmd, pipe}, nil
}

// adopt makes a command part of the group when it starts.
func (g *guard) adopt(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: g.cmd.Process.Pid}
}

// terminate asks all of the group to end; the guard does not.
func (g *guard) terminate(*exec.Cmd) { _ = syscall.Kill(-g.cmd.Process.Pid, syscall.SIGTERM) }

// kill ends all of the group, the guard with it. The group's number is not given
// to another while the guard has not been waited for.
func (g *guard) kill(*exec.Cmd) { _ = syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL) }

// release ends the guard, and all that is left of the group.
func (g *guard) release() {
	g.kill(nil)
	_ = g.pipe.Close()
	_ = g.cmd.Wait()
}
