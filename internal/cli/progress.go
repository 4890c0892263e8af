package cli

import (
	"fmt"
	"io"
	"time"
)

// How often progress is shown, and after how long at first: what is over in a second
// needs none.
const (
	progressAfter = time.Second
	progressEvery = 5 * time.Second // where each is a line that stays
)

// A progress says on stderr how far something is that takes longer than a second: in
// one line that is written over on a terminal, in lines with the time elsewhere.
type progress struct {
	env   *env
	begun time.Time
	last  time.Time
	live  bool // a line is shown that is to be written over
}

func (e *env) progress() *progress { return &progress{env: e, begun: e.now()} }

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
