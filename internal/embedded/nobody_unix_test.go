//go:build unix

package embedded_test

import (
	"os/exec"
	"syscall"
)

// asNobody has a command run without privileges.
func asNobody(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}
