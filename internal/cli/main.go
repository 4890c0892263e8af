// Package cli holds the commands, configuration and wiring of oprc: the only
// room that reads the clock, the process environment and the terminal.
//
// Each command is an options struct, a constructor that binds flags to it, and a
// run method that opens what it needs, calls one use case and hands the result
// to one view.
package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// A Process is what the program gets from the operating system.
type Process struct {
	Args    []string // without the program's name
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
	Environ []string // "KEY=value"
	Now     func() time.Time

	// Prompt is set once it is known that the command may be ended at any moment.
	Prompt *atomic.Bool
}

// grace is how long a prompt command has to end in good order.
const grace = 50 * time.Millisecond

// An interruption is the signal that ended a command.
type interruption struct{ os.Signal }

func (i interruption) Error() string { return i.String() }

// Main runs the command line of this process and returns the exit code. The first
// interrupt or termination signal cancels what runs, and ends a prompt command
// even if that is busy; a second one kills.
func Main() int {
	delayFirstCollection()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var prompt atomic.Bool
	code := make(chan int, 1)
	go func() {
		code <- Run(ctx, Process{
			Args: os.Args[1:], In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(), Now: time.Now, Prompt: &prompt,
		})
	}()
	select {
	case c := <-code:
		return c
	case s := <-signals:
		return end(cancel, interruption{s}, &prompt, code)
	}
}

func end(cancel context.CancelCauseFunc, by interruption, prompt *atomic.Bool, code <-chan int) int {
	signal.Reset()
	cancel(by)
	var late <-chan time.Time
	if prompt.Load() {
		late = time.After(grace)
	}
	select {
	case c := <-code:
		return c
	case <-late:
		return exitCode(interruptedError(by, context.Canceled))
	}
}
