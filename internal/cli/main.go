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
}

// Main runs the command line of this process and returns the exit code. The
// first interrupt or termination signal cancels what runs; a second one kills.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return Run(ctx, Process{
		Args: os.Args[1:], In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(), Now: time.Now,
	})
}
