package cli

import (
	"log/slog"
)

// logger logs to stderr, for what has no one to return an error to.
func (e *env) logger() *slog.Logger { return e.loggerAt(slog.LevelWarn) }

func (e *env) loggerAt(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(e.err, &slog.HandlerOptions{Level: level}))
}

func parseLevel(s string) error {
	var l slog.Level
	return l.UnmarshalText([]byte(s))
}
