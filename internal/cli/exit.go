package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rest"
)

// The exit codes.
const (
	exitOK           = 0
	exitError        = 1
	exitChanges      = 2 // plan --detailed-exitcode
	exitInvalid      = 3
	exitConflict     = 4
	exitHeld         = 5
	exitNotFound     = 6
	exitNotConverged = 7
	exitUnavailable  = 8
	exitDenied       = 9
	exitUsage        = 64
	exitInterrupted  = 130
	exitTerminated   = 143
)

var (
	errChanges      = errors.New("the plan has changes")
	errNotConverged = errors.New("not converged")
	errInterrupted  = errors.New("interrupted")
	errTerminated   = fmt.Errorf("%w by SIGTERM", errInterrupted)
)

// exitCode is the one place where an error becomes an exit code.
func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errTerminated):
		return exitTerminated
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.Is(err, errChanges):
		return exitChanges
	case denied(err) || errors.Is(err, oprc.ErrDenied):
		return exitDenied
	case unavailable(err):
		return exitUnavailable
	case errors.Is(err, oprc.ErrInvalid):
		return exitInvalid
	case errors.Is(err, oprc.ErrHeld):
		return exitHeld
	case errors.Is(err, oprc.ErrConflict):
		return exitConflict
	case errors.Is(err, oprc.ErrNotFound):
		return exitNotFound
	case errors.Is(err, errNotConverged):
		return exitNotConverged
	}
	return exitError
}

func unavailable(err error) bool {
	return errors.Is(err, rdb.ErrUnavailable) || errors.Is(err, rest.ErrUnavailable) || errors.Is(err, gitsource.ErrUnavailable)
}

func denied(err error) bool { return errors.Is(err, rdb.ErrDenied) || errors.Is(err, rest.ErrDenied) }

const exitCodesTitle = "Exit codes:"

// exits is the part of a command's help that lists the codes it ends with.
func exits(codes ...int) string {
	meaning := map[int]string{
		exitOK: "done, or no changes", exitError: "error", exitChanges: "the plan has changes (--detailed-exitcode)",
		exitInvalid: "invalid packages", exitConflict: "conflict: stale plan, or another owner",
		exitHeld: "held: approval or --yes is needed", exitNotFound: "not found", exitNotConverged: "not converged in time (--wait)",
		exitUnavailable: "Redis, server or Git unreachable", exitDenied: "not allowed", exitUsage: "wrong usage", exitInterrupted: "interrupted (143 by SIGTERM)",
	}
	var b strings.Builder
	b.WriteString("\n\n" + exitCodesTitle + "\n")
	for _, c := range codes {
		fmt.Fprintf(&b, "  %3d  %s\n", c, meaning[c])
	}
	return strings.TrimRight(b.String(), "\n")
}

// A usageError is a wrong command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// args makes a failed check of arguments a usage error that says what the command
// takes. Names of the kinds may be given as KIND/NAME, as get -o name prints them.
func args(check cobra.PositionalArgs, kinds ...oprc.Kind) cobra.PositionalArgs {
	return func(cmd *cobra.Command, words []string) error {
		err := check(cmd, words)
		_, takes, _ := strings.Cut(cmd.Use, " ")
		switch {
		case err == nil:
			for i, word := range words {
				words[i] = nameOf(word, kinds...)
			}
			return nil
		case takes == "" && len(words) > 0:
			return usagef("%s takes no argument, got %q", cmd.CommandPath(), words[0])
		case strings.Contains(err.Error(), "arg(s)") && len(words) == 0: // cobra has no type for it
			return usagef("%s takes %s: none is given", cmd.CommandPath(), takes)
		case strings.Contains(err.Error(), "arg(s)") && len(words) == 2 && isKind(words[0], kinds):
			return usagef("%s takes %s, without the kind: %s %s", cmd.CommandPath(), takes, cmd.CommandPath(), quote(words[1]))
		case strings.Contains(err.Error(), "arg(s)"):
			return usagef("%s takes %s, got %s", cmd.CommandPath(), takes, quotedWords(words, " "))
		}
		return usageError{fmt.Errorf("%s: %w", cmd.CommandPath(), err)}
	}
}

// usageOf says where the help of a command is, with its first example.
func usageOf(cmd *cobra.Command) string {
	if cmd.HasSubCommands() {
		return cmd.CommandPath() + " --help lists the commands."
	}
	first, _, _ := strings.Cut(strings.TrimSpace(cmd.Example), "\n")
	first, _, _ = strings.Cut(first, "  #")
	if first = strings.TrimSpace(first); first == "" {
		return cmd.CommandPath() + " --help shows how it is used."
	}
	return cmd.CommandPath() + " --help shows how it is used. For example: " + first
}

// shown wraps an error that its view has told in full already.
type shown struct{ error }

func (e shown) Unwrap() error { return e.error }

// silent reports whether nothing is left to say about err.
func silent(err error) bool {
	var s shown
	return errors.As(err, &s) || errors.Is(err, errChanges) || errors.Is(err, errInterrupted)
}

// interruptedError is what a command that was interrupted ends with.
func interruptedError(cause, err error) error {
	var by interruption
	switch {
	case err == nil:
		return nil // it was asked to stop, and stopped in good order
	case !errors.Is(err, context.Canceled) && !errors.Is(err, errInterrupted):
		return err
	case errors.As(cause, &by) && by.Signal == syscall.SIGTERM:
		return errTerminated
	case errors.Is(err, context.Canceled):
		return errInterrupted
	}
	return err
}

// A stepError is an error with the way out.
type stepError struct {
	error
	next string
}

func (e stepError) Unwrap() error { return e.error }

// An inContextError names the context by which a place was chosen that cannot be used.
type inContextError struct {
	error
	name string
}

func (e inContextError) Unwrap() error { return e.error }

func (e inContextError) Error() string { return fmt.Sprintf("context %s: %v", e.name, e.error) }

// nextStep says what a person can do about err, or "".
func nextStep(err error) string {
	var step stepError
	switch {
	case errors.As(err, &step):
		return step.next
	case errors.Is(err, rest.ErrDenied):
		return "Set OPRC_TOKEN to a token that the server knows."
	case denied(err):
		return "Check the user and the password: OAAS_PM_DB_USERNAME and OAAS_PM_DB_PASSWORD, or in the URL."
	case errors.Is(err, rdb.ErrFull):
		return "Raise its maxmemory (redis-cli CONFIG SET maxmemory BYTES), or delete what else it keeps. Reading works meanwhile, and daemons go on by themselves."
	case errors.Is(err, rdb.ErrDisk):
		return "Make room on its disk (its log names the file), then redis-cli BGSAVE: it takes writes again once that succeeds. Reading works meanwhile, and daemons go on by themselves."
	case errors.Is(err, rdb.ErrReplica):
		return "Name its master (redis-cli INFO replication shows master_host), or wait for the failover. Reading works meanwhile."
	case unavailable(err):
		return "Check that it runs and that the address is right; without --redis, --server, a context and OAAS_PM_DB_* oprc uses its embedded state."
	case errors.Is(err, oprc.ErrConflict):
		return "Plan again, read what changed, and apply the new plan."
	}
	return ""
}
