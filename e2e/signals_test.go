package e2e_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A command that ends at once ends with the shells' exit code, even where it is busy:
// here with a standard input that never ends.
func TestSignalsEndBusyCommands(t *testing.T) {
	for _, command := range []string{"validate", "plan", "apply"} {
		for signal, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
			t.Run(command+" "+signal.String(), func(t *testing.T) {
				t.Parallel()
				in, never, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer never.Close()
				cmd := exec.CommandContext(t.Context(), filepath.Join(bin, program), command, "-f", "-")
				cmd.Stdin, cmd.Env = in, []string{"HOME=" + t.TempDir()}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				in.Close()
				// It reads once it took the first part: then its signal handler is there.
				chunk := make([]byte, 256<<10) // more than a pipe holds
				if _, err := never.Write(chunk); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				var ended *exec.ExitError
				if err := cmd.Wait(); !errors.As(err, &ended) || ended.ExitCode() != code {
					t.Errorf("got %v, want exit code %d", err, code)
				}
				t.Logf("%v", time.Since(began))
			})
		}
	}
}
