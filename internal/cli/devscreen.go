package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/term"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

// A devScreen shows what happens, as it happens. What follows an edit fits a screen,
// however many packages there are: its plan, and a line for each deployment that moved.
type devScreen struct {
	*env
	state   *state
	console string

	mu       sync.Mutex
	moved    map[string]bool  // deployments since the state was last printed
	stirred  bool             // anything else happened since
	printed  time.Time        // when something was last printed of units that move
	findings oprc.Diagnostics // errors that the last plan was printed with
}

const (
	devLines    = 12              // deployments that are listed one by one
	devPatience = 5 * time.Second // without a word, while units move
)

func (d *devScreen) step(st loop.Step) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch invalid, ok := errors.AsType[*oprc.InvalidError](st.Err); {
	case ok:
		if fmt.Sprint(invalid.Diagnostics.Errors()) != fmt.Sprint(d.findings) {
			d.remarks(invalid.Diagnostics, st)
		}
		d.say("What is valid was applied; packages with errors stay as they were.")
	case st.Err != nil:
		_, _ = io.WriteString(d.err, view.Problem(st.Err, ""))
	case st.Result == nil && st.Plan != nil:
		if st.Revision.ID != "" {
			d.say("revision %s", st.Revision.ID)
		}
		d.findings = st.Plan.Diagnostics.Errors()
		if len(d.findings) == 0 || !st.Plan.Empty() {
			valid := *st.Plan // the plan of a source is applied without what is invalid
			valid.Diagnostics = valid.Diagnostics.Except(oprc.SeverityError)
			_ = d.text().Plan(&valid, "")
		}
		if len(d.findings) > 0 {
			d.remarks(d.findings, st)
		}
	}
}

func (d *devScreen) text() view.Output {
	out := d.output(view.Text)
	out.Mask = defaultMask()
	return out
}

// remarks prints findings with the lines that they are about.
func (d *devScreen) remarks(findings oprc.Diagnostics, st loop.Step) {
	_ = d.text().Remarks(view.Findings{Diagnostics: findings, Contents: contents(st.Files)}) // a closed terminal ends the process otherwise
}

// say prints a line with the time.
func (d *devScreen) say(format string, args ...any) {
	d.printed = d.now()
	_, _ = fmt.Fprintf(d.out, d.printed.Format(time.TimeOnly)+"  "+format+"\n", args...)
}

// event prints what an environment does. Units are counted for the next rest, and
// mentioned if that is long in coming.
func (d *devScreen) event(e oprc.Event) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case e.Type == "environment":
		d.stirred = true
		return d.output(view.Text).Event(e)
	case e.Type != "condition":
		return nil
	case e.Kind != oprc.KindUnit:
		d.stirred = true
		return d.output(view.Text).Event(e)
	}
	class, _, _ := strings.Cut(e.Key, "/")
	if d.moved == nil {
		d.moved, d.printed = map[string]bool{}, d.now()
	}
	d.moved[class] = true
	if d.now().Sub(d.printed) > devPatience {
		d.say("units of %d deployments are on their way", len(d.moved))
	}
	return nil
}

// rest prints each deployment that moved and a line about all, once each time that the
// state came to rest.
func (d *devScreen) rest(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.moved) == 0 && !d.stirred {
		return nil
	}
	objects, err := d.state.List(ctx, oprc.KindDeployment)
	if err != nil {
		return nil // the next rest shows it
	}
	units, running := 0, 0
	lines := map[string]string{}
	for class := range d.moved {
		lines[class] = class + "  undeployed"
	}
	for _, ob := range objects {
		v, ok := ob.Doc.(*reconcile.DeploymentView)
		if !ok {
			continue
		}
		units, running = units+v.Units, running+v.Running
		if d.moved[v.Key] {
			lines[v.Key] = deploymentLine(v)
		}
	}
	for i, class := range slices.Sorted(maps.Keys(lines)) {
		if i == devLines && len(lines) > devLines+1 {
			d.say("… and %d more: oprc get deployments", len(lines)-i)
			break
		}
		d.say("%s", lines[class])
	}
	d.moved, d.stirred = nil, false
	d.say("%d of %d units of %d deployments RUNNING; %s", running, units, len(objects), d.console)
	return nil
}

func deploymentLine(v *reconcile.DeploymentView) string {
	line := fmt.Sprintf("%s  %s %d/%d", v.Key, v.Condition, v.Running, v.Units)
	if n := len(v.TargetEnvs); n > 3 {
		line += fmt.Sprintf(" in %d environments", n)
	} else if n > 0 {
		line += " in " + strings.Join(v.TargetEnvs, ", ")
	}
	if v.ErrorMsg != "" {
		line += ": " + strconv.Quote(v.ErrorMsg) // a CRM's words: nothing of them reaches the terminal as it is
	}
	return line
}

// wrapped is the environment of a command whose lines are broken at spaces, where the
// terminal would break them inside of words.
func (e *env) wrapped() *env {
	w := *e
	w.out, w.err = wrapper{e.out, e.raw}, wrapper{e.err, e.rawErr}
	return &w
}

// A wrapper breaks lines for the terminal that they go to, as wide as it is by then.
type wrapper struct {
	io.Writer
	terminal any
}

func (w wrapper) Write(p []byte) (int, error) {
	f, is := w.terminal.(*os.File)
	if !is {
		return w.Writer.Write(p)
	}
	columns, _, err := term.GetSize(f.Fd())
	if err != nil { // it is no terminal
		return w.Writer.Write(p)
	}
	_, err = io.WriteString(w.Writer, view.Wrap(string(p), columns))
	return len(p), err
}
