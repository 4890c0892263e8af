package cli

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// LoadConfig is loadConfig with a command line.
func LoadConfig(path string, environ, words []string) (Config, error) {
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	bindConfig(flags)
	if err := flags.Parse(words); err != nil {
		return Config{}, err
	}
	return loadConfig(path, environ, flags)
}

// Find returns the command that words begin with, and what remains of them.
func Find(words []string) (command string, rest []string) {
	cmd, rest, err := newRoot(&env{}, Process{}).Find(words)
	if err != nil {
		return "", words
	}
	return cmd.CommandPath(), rest
}

// Commands lists the commands that do something, without the first word: by name, whether
// their help has examples, and the formats that they print.
func Commands() map[string]struct {
	Examples bool
	Formats  string
} {
	out := map[string]struct {
		Examples bool
		Formats  string
	}{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.HasSubCommands() && !strings.Contains(c.Use, " ") || c.Hidden || c.Parent() == nil {
			return
		}
		entry := out[c.CommandPath()]
		entry.Examples = c.Example != ""
		if f := c.Flags().Lookup("output"); f != nil {
			entry.Formats = f.Usage
		}
		out[c.CommandPath()] = entry
	}
	walk(newRoot(&env{}, Process{}))
	return out
}

// ExitCode is exitCode.
func ExitCode(err error) int { return exitCode(err) }

// ErrChanges, ErrNotConverged and ErrInterrupted are the errors of this room.
var (
	ErrChanges      = errChanges
	ErrNotConverged = errNotConverged
	ErrInterrupted  = errInterrupted
)

// Confirm is confirm on streams.
func Confirm(ctx context.Context, in io.Reader, out io.Writer, what string) error {
	return (&env{in: in, rawErr: out}).confirm(ctx, what)
}

// Quote is quote.
func Quote(s string) string { return quote(s) }

// Redacted is redacted.
func Redacted(s string) string { return redacted(s) }

// NewBurst is how webhooks wake a source.
func NewBurst(wake func() error) (call func() error) { return (&burst{wake: wake}).call }

// During is during on a stream, and what it does gets pause.
func During(to io.Writer, now func() time.Time, what string, do func(pause func(func() (string, error)) error) error) error {
	return (&env{err: to, rawErr: to, now: now}).during(what, func(s *step) error { return do(s.pause) })
}
