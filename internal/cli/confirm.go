package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// confirm asks on the terminal whether to delete something.
func (e *env) confirm(ctx context.Context, what string) error {
	if _, err := fmt.Fprintf(e.rawErr, "Delete %s? [y/N] ", what); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	// A terminal that is read cannot be interrupted: who gives up does not wait for it.
	answers := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(e.in).ReadString('\n') // an end of the input is no consent
		answers <- line
	}()
	select {
	case <-ctx.Done():
		_, _ = io.WriteString(e.rawErr, "\n")
		return errInterrupted
	case answer := <-answers:
		if !strings.HasSuffix(answer, "\n") {
			_, _ = io.WriteString(e.rawErr, "\n")
		}
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes":
			return nil
		}
	}
	return fmt.Errorf("nothing was changed, deleting was declined: %w", oprc.ErrHeld)
}
