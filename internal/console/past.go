package console

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// past is the history of a package, the newest entry first.
type past struct {
	Package string
	Entries []entry
	At      *entry     // that the visitor goes back to
	Spec    []outlined // as it was then
	Since   []change   // what changed from then until now
	Slider  slider
	Blamed  []reconcile.Blamed // who set what, if that was asked
	May     bool               // undo
}

// An entry is a write of the package, and what it changed.
type entry struct {
	oprc.HistoryEntry
	Changes []change
	More    int // changes that are not listed
}

// A change is one field that differs.
type change struct{ Path, Before, After string }

// A slider chooses an entry: 0 is the oldest.
type slider struct{ Max, Value int }

const (
	entries      = 30 // of the history
	entryChanges = 12
)

func (v *visit) past(pkg string) (*past, error) {
	var l listing[oprc.HistoryEntry]
	if err := v.get("/history/"+url.PathEscape(pkg), url.Values{"limit": {strconv.Itoa(entries)}}, &l); err != nil {
		return nil, err
	}
	p := &past{Package: pkg, May: v.may("undo", "package", pkg)}
	writes := oprc.Writes(l.Items)
	for _, h := range l.Items {
		e := entry{HistoryEntry: h}
		i := slices.IndexFunc(writes, func(w oprc.HistoryEntry) bool { return w.ID == h.ID })
		if i >= 0 && i+1 < len(writes) {
			e.Changes = differences(writes[i+1].Spec, h.Spec)
			e.More = max(0, len(e.Changes)-entryChanges)
			e.Changes = e.Changes[:len(e.Changes)-e.More]
		}
		p.Entries = append(p.Entries, e)
	}
	q := v.r.URL.Query()
	if q.Get("blame") != "" {
		p.Blamed = reconcile.Blame(l.Items, "")
	}
	p.Slider.Max = len(writes) - 1
	p.Slider.Value = p.Slider.Max
	if at, err := strconv.Atoi(q.Get("at")); err == nil && at >= 0 && at < p.Slider.Max {
		then := writes[len(writes)-1-at]
		p.Slider.Value, p.At = at, &entry{HistoryEntry: then}
		if then.Spec != nil {
			p.Spec = outline(then.Spec)
		}
		p.Since = differences(then.Spec, writes[0].Spec)
	}
	return p, nil
}

// differences lists the fields in which two versions of a package differ; nil is none.
func differences(before, after *oprc.Package) []change {
	was, is := leaves(before), leaves(after)
	var out []change
	for _, l := range was.list {
		now, still := is.of[l.Path]
		switch {
		case !still:
			out = append(out, change{l.Path, plain(l.Value), ""})
		case now != string(l.Value):
			out = append(out, change{l.Path, plain(l.Value), plain([]byte(now))})
		}
	}
	for _, l := range is.list {
		if _, had := was.of[l.Path]; !had {
			out = append(out, change{l.Path, "", plain(l.Value)})
		}
	}
	return out
}

type leafSet struct {
	list []plan.Leaf
	of   map[string]string
}

func leaves(p *oprc.Package) leafSet {
	s := leafSet{of: map[string]string{}}
	if p == nil {
		return s
	}
	s.list = plan.Leaves(*p)
	for _, l := range s.list {
		s.of[l.Path] = string(l.Value)
	}
	return s
}

// plain is a JSON value as people write it.
func plain(raw []byte) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}
