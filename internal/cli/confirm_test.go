package cli_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/cli"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// Nothing but a yes is consent, and who is asked can give up at any moment.
func TestConfirm(t *testing.T) {
	for answer, want := range map[string]error{
		"y\n": nil, "YES \n": nil, "n\n": oprc.ErrHeld, "\n": oprc.ErrHeld, "": oprc.ErrHeld, "yes, if\n": oprc.ErrHeld,
	} {
		var asked bytes.Buffer
		err := cli.Confirm(t.Context(), strings.NewReader(answer), &asked, "package shop")
		if !errors.Is(err, want) {
			t.Errorf("answer %q: got %v, want %v", answer, err, want)
		}
		if got, want := strings.TrimRight(asked.String(), "\n"), "Delete package shop? [y/N] "; got != want {
			t.Errorf("asked %q, want %q", got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	silent, _ := io.Pipe()
	if err := cli.Confirm(ctx, silent, io.Discard, "package shop"); !errors.Is(err, cli.ErrInterrupted) {
		t.Errorf("interrupted: got %v", err)
	}
}
