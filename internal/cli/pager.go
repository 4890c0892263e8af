package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"

	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/view"
)

// paged are the commands whose output may be longer than a terminal, and ends.
var paged = map[string]bool{
	"oprc get": true, "oprc plan": true, "oprc show": true, "oprc history": true, "oprc describe": true,
	"oprc tree": true, "oprc diff": true, "oprc events": true, "oprc blame": true,
}

// A pager keeps what a command prints on a terminal until the command is done: it is
// known then whether it is longer than the screen.
type pager struct {
	*os.File // the terminal; writers of styled text look at it
	errors   io.Writer
	kept     bytes.Buffer
}

func (p *pager) Write(text []byte) (int, error) { return p.kept.Write(text) }

// A remarks writer is stderr of a paged command: what follows the first output is shown
// behind it, or it would be lost above the pager's screen.
type remarks struct {
	*os.File
	p *pager
}

func (r remarks) Write(text []byte) (int, error) {
	if r.p.kept.Len() > 0 {
		return r.p.kept.Write(text)
	}
	return r.p.errors.Write(text)
}

// page makes a command's output go through a pager if it goes to a terminal.
func (e *env) page(cmd *cobra.Command) {
	out, isFile := e.raw.(*os.File)
	if !isFile || !paged[cmd.CommandPath()] || e.noPager || !isTerminal(out) || e.getenv("TERM") == "dumb" || e.pagerCommand() == "" {
		return
	}
	if watch := cmd.Flags().Lookup("watch"); watch != nil && watch.Value.String() == "true" {
		return
	}
	color, _ := view.ParseColor(e.color) // it was checked
	e.pager = &pager{File: out, errors: e.rawErr}
	e.out = view.NewWriter(e.pager, e.environ, color)
	if to, ok := e.rawErr.(*os.File); ok && isTerminal(to) {
		e.err = view.NewWriter(remarks{to, e.pager}, e.environ, color)
	}
}

// pagerCommand is what OPRC_PAGER or PAGER name, less if neither is set, and "" for no pager.
func (e *env) pagerCommand() string {
	for _, name := range []string{"OPRC_PAGER", "PAGER"} {
		if command, set := e.lookup(name); set {
			if command == "cat" {
				return ""
			}
			return command
		}
	}
	if _, err := exec.LookPath("less"); err != nil {
		return ""
	}
	return "less"
}

// endPage shows what was kept.
func (e *env) endPage() {
	p := e.pager
	if p == nil {
		return
	}
	e.pager = nil
	text := p.kept.Bytes()
	if width, height, err := term.GetSize(p.Fd()); err == nil && lines(text, width) < height || e.inPager(p, text) != nil {
		_, _ = p.File.Write(text) // a terminal that is closed ends the process
	}
	p.kept.Reset() // remarks go to stderr again
}

// lines is how many lines of a terminal a text fills, at most: marks of colour count
// as if they had a width.
func lines(text []byte, width int) int {
	n := 0
	for line := range bytes.Lines(text) {
		n += 1 + (len(line)-1)/max(width, 1)
	}
	return n
}

// inPager shows a text in the pager, until that ends. It is an error if there is none.
func (e *env) inPager(p *pager, text []byte) error {
	cmd := exec.Command("sh", "-c", e.pagerCommand())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), p.File, e.rawErr
	cmd.Env = append([]string{"LESS=FRX", "LV=-c"}, e.environ...) // what the user has set comes later, and counts
	if err := cmd.Start(); err != nil {
		return err
	}
	signal.Ignore(os.Interrupt) // in a pager, it interrupts a search
	const notExecutable, notFound = 126, 127
	if exit, ok := errors.AsType[*exec.ExitError](cmd.Wait()); ok && (exit.ExitCode() == notExecutable || exit.ExitCode() == notFound) {
		return exit
	}
	return nil // that it was left early is no error
}
