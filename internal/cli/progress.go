package cli

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// How often progress is shown, and after how long at first: what is over in a second
// needs none.
const (
	progressAfter = time.Second
	progressEvery = 5 * time.Second  // where each is a line that stays
	lineAfter     = 10 * time.Second // the first of those, of what nobody asked to wait for
)

// A progress says on stderr how far something is that takes longer than a second: in
// one line that is written over on a terminal, in lines with the time elsewhere.
type progress struct {
	env   *env
	begun time.Time
	last  time.Time
	live  bool // a line is shown that is to be written over
}

// progress begins one whose first line comes after some time, where no terminal is.
func (e *env) progress(firstLine time.Duration) *progress {
	p := &progress{env: e, begun: e.now()}
	if !isTerminal(e.rawErr) {
		p.begun = p.begun.Add(firstLine - progressAfter)
	}
	return p
}

// say shows a text if it is time to. Only then is it asked for.
func (p *progress) say(text func() string) {
	now := p.env.now()
	if now.Sub(p.begun) < progressAfter {
		return
	}
	if isTerminal(p.env.rawErr) && p.env.getenv("TERM") != "dumb" {
		p.live = true
		_, _ = fmt.Fprintf(p.env.rawErr, "\r\x1b[K%s", firstColumns(text()))
		return
	}
	if now.Sub(p.last) >= progressEvery {
		p.last = now
		_, _ = io.WriteString(p.env.err, now.Format(time.TimeOnly)+" "+text()+"\n")
	}
}

// end removes the line that is written over.
func (p *progress) end() {
	if p.live {
		p.live = false
		_, _ = io.WriteString(p.env.rawErr, "\r\x1b[K")
	}
}

// firstColumns cuts a text so that it stays in one line of a narrow terminal.
func firstColumns(text string) string {
	const most = 78
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

// A step is something that is being done and may take long. Its name is shown meanwhile.
type step struct {
	*progress
	mu    sync.Mutex
	what  string
	begun time.Time
}

// during does something that may take long, and says meanwhile what it is. It must not
// write to stderr but in [step.pause].
func (e *env) during(what string, do func(*step) error) error {
	s := &step{progress: e.progress(lineAfter), what: what, begun: e.now()}
	done := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() {
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				s.show()
			}
		}
	})
	err := do(s)
	close(done)
	shown.Wait()
	s.end()
	return err
}

func (s *step) show() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say(func() string { return fmt.Sprintf("%s: %s", s.what, s.env.now().Sub(s.begun).Round(time.Second)) })
}

// pause does something that may write to stderr or ask a person, and goes on with what
// it names.
func (s *step) pause(do func() (next string, err error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
	next, err := do()
	s.what, s.begun = next, s.env.now()
	return err
}

// counted is "1 file", "2 files".
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
