package cli

import (
	"log/slog"

	"github.com/oaas-platform/oprc/internal/rdb"
)

// logger logs to stderr, for what has no one to return an error to.
func (e *env) logger() *slog.Logger { return e.loggerAt(slog.LevelWarn) }

func (e *env) loggerAt(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(e.err, &slog.HandlerOptions{Level: level, ReplaceAttr: withAnswer}))
}

// withAnswer shows in an error also what Redis answered in its own words, which only those
// who look after it want to read.
func withAnswer(_ []string, a slog.Attr) slog.Attr {
	if err, is := a.Value.Any().(error); is {
		if answer := rdb.Answer(err); answer != "" {
			a.Value = slog.StringValue(err.Error() + " (" + answer + ")")
		}
	}
	return a
}

func parseLevel(s string) error {
	var l slog.Level
	return l.UnmarshalText([]byte(s))
}
