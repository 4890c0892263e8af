package cli

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// A child is a program under test, which is started and ended several times. One that
// ends by itself ends the test.
type child struct {
	command string
	environ []string
	log     io.Writer // of all that it prints
	cancel  context.CancelCauseFunc

	mu   sync.Mutex
	last []byte // of what it printed
}

// childGrace is how long a program may take to end when it is asked to.
const childGrace = 5 * time.Second

// start runs the command in a process group of its own; stop ends all of it.
func (c *child) start(context.Context) (stop func() error, err error) {
	cmd := shellCommand(c.command)
	cmd.Env = c.environ
	cmd.Stdout, cmd.Stderr = c, c
	cmd.WaitDelay = childGrace // for output of grandchildren that outlive it
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	asked, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		err := cmd.Wait()
		select {
		case <-asked:
		default:
			c.cancel(fmt.Errorf("the CRM ended by itself (%s)%s", stateOf(cmd, err), c.lastLines()))
		}
	}()
	return func() error {
		close(asked)
		terminateGroup(cmd)
		select {
		case <-ended:
		case <-time.After(childGrace):
		}
		killGroup(cmd)
		<-ended
		return nil
	}, nil
}

func stateOf(cmd *exec.Cmd, err error) string {
	if cmd.ProcessState != nil {
		return cmd.ProcessState.String()
	}
	return err.Error()
}

// Write keeps the end of what the program prints.
func (c *child) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = append(c.last, p...)
	if over := len(c.last) - 2048; over > 0 {
		c.last = c.last[over:]
	}
	return c.log.Write(p)
}

func (c *child) lastLines() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.TrimSpace(strings.ToValidUTF8(string(c.last), "?"))
	if text == "" {
		return ""
	}
	return "; the last that it printed:\n" + text
}
