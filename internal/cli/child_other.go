//go:build !unix

package cli

import "os/exec"

// shellCommand is a command line. Where there are no process groups, what it starts is
// not ended with it.
func shellCommand(line string) *exec.Cmd {
	return exec.Command("cmd", "/C", line) //nolint:gosec // the user's own
}

func terminateGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
func killGroup(cmd *exec.Cmd)      { _ = cmd.Process.Kill() }
