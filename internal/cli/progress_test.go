package cli_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/cli"
)

// What takes long is named, in lines where no terminal is; what asks a person meanwhile
// is not written over, and names what comes next.
func TestStepsAreNamed(t *testing.T) {
	lines, to := make(chan string), make(chan string, 1)
	read, write := io.Pipe()
	go func() {
		defer close(lines)
		buf := make([]byte, 1<<10)
		for {
			n, err := read.Read(buf)
			if err != nil {
				return
			}
			lines <- string(buf[:n])
		}
	}()
	wait := func(text string) {
		t.Helper()
		deadline := time.After(time.Minute)
		for {
			select {
			case line := <-lines:
				if strings.Contains(line, text) {
					return
				}
			case <-deadline:
				t.Errorf("no line has %q", text)
				return
			}
		}
	}
	hours := func() time.Time { return time.Unix(0, 0).Add(time.Since(start) * 3600) } // a second is an hour
	refused := errors.New("refused")
	err := cli.During(write, hours, "planning 2 files", func(pause func(func() (string, error)) error) error {
		wait(" planning 2 files: ")
		if err := pause(func() (string, error) {
			to <- "asked"
			return "applying 3 changes", nil
		}); err != nil {
			return err
		}
		wait(" applying 3 changes: ")
		go func() {
			for range lines { // the last ones may still come
			}
		}()
		return pause(func() (string, error) { return "", refused })
	})
	if !errors.Is(err, refused) || <-to != "asked" {
		t.Errorf("got %v, want %v", err, refused)
	}
	_ = write.Close()
}

var start = time.Now()
