package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// crmProgram has the drivers whose libraries are too large for this program.
const crmProgram = "oprc-crm"

// findCRMProgram looks beside this program, and then where programs are.
func findCRMProgram() (string, error) {
	name := crmProgram
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	if self, err := os.Executable(); err == nil {
		if beside := filepath.Join(filepath.Dir(self), name); isExecutable(beside) {
			return beside, nil
		}
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return "", stepError{
			fmt.Errorf("%s, which has this driver, is neither beside oprc nor on the PATH: %w", crmProgram, oprc.ErrNotFound),
			"Install it, or build it with: make build",
		}
	}
	return found, nil
}

func isExecutable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && (runtime.GOOS == "windows" || info.Mode()&0o111 != 0)
}

// runExternal runs a CRM in a process of its own until ctx ends. The Redis URL goes
// through the environment, where the list of processes does not show it.
func (e *env) runExternal(ctx context.Context, o driverOptions, c crm.Options, more ...string) error {
	program, err := findCRMProgram()
	if err != nil {
		return err
	}
	args := []string{
		"run", "--driver", o.driver, "--env", c.Env, "--id", c.ID, "--database", c.Database, "--topic", c.Topic,
		"--availability", strconv.FormatFloat(c.Availability, 'g', -1, 64),
	}
	if o.secrets != "" {
		args = append(args, "--secrets", o.secrets)
	}
	cmd := exec.CommandContext(ctx, program, append(args, more...)...) //nolint:gosec // it is our own
	cmd.Env = append(e.environ, "OPRC_REDIS_URL="+c.Redis)
	return e.runChild(ctx, cmd, e.err)
}

// runChild runs a program and asks it to end when ctx does.
func (e *env) runChild(ctx context.Context, cmd *exec.Cmd, out io.Writer) error {
	cmd.Stdout, cmd.Stderr = out, e.err
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil
	}
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%s: %s", crmProgram, failed.ProcessState)
	}
	return err
}
