package view

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A Watch prints a listing that changes: all of it first, then the rows that
// differ from what was printed. JSON and YAML give one document per row. The zero
// Watch with an Output and a Kind is ready.
type Watch struct {
	Output Output
	Kind   oprc.Kind

	seen   map[string]string // what was printed, by key
	widths []int
}

// Update prints what differs in list since the last call.
func (w *Watch) Update(now time.Time, list []reconcile.Object) error {
	w.Output.Now = now
	fresh := w.seen == nil
	if fresh {
		w.seen = map[string]string{}
	}
	gone := maps.Clone(w.seen)
	var changed []reconcile.Object
	for _, obj := range list {
		delete(gone, obj.Key)
		if is := w.Output.fingerprint(obj); w.seen[obj.Key] != is {
			w.seen[obj.Key] = is
			changed = append(changed, obj)
		}
	}
	keys := slices.Sorted(maps.Keys(gone))
	for _, key := range keys {
		delete(w.seen, key)
	}
	switch w.Output.Format {
	case JSON, YAML:
		return w.documents(changed, keys)
	case Name:
		return w.Output.print(names(changed))
	}
	return w.rows(fresh, changed, keys)
}

// fingerprint is the row with times instead of ages, so that mere ageing is no
// change.
func (o Output) fingerprint(obj reconcile.Object) string {
	o.Now = time.Time{}
	return strings.Join(o.row(obj), "\x00")
}

// rows keeps the columns of the first print, and widens them where it must.
func (w *Watch) rows(header bool, changed []reconcile.Object, gone []string) error {
	columns := columns(w.Kind, w.Output.Format == Wide)
	var lines [][]string
	if header {
		head := make([]string, len(columns))
		for i, h := range columns {
			head[i] = bold(h)
		}
		lines = append(lines, head)
	}
	for _, obj := range changed {
		lines = append(lines, w.Output.row(obj)[:len(columns)])
	}
	for _, key := range gone {
		lines = append(lines, []string{clean(key), faint("(gone)")})
	}
	if w.widths == nil {
		w.widths = make([]int, len(columns))
	}
	for _, cells := range lines {
		for i, c := range cells {
			w.widths[i] = max(w.widths[i], lipgloss.Width(c))
		}
	}
	var b strings.Builder
	for _, cells := range lines {
		b.WriteString(align(cells, w.widths) + "\n")
	}
	return w.Output.print(b.String())
}

func (w *Watch) documents(changed []reconcile.Object, gone []string) error {
	items, err := w.Output.items(changed)
	if err != nil {
		return err
	}
	type event struct {
		FormatVersion string          `json:"formatVersion"`
		Type          string          `json:"type"` // changed, gone
		Kind          oprc.Kind       `json:"kind"`
		Key           string          `json:"key"`
		Object        json.RawMessage `json:"object,omitempty"`
	}
	var events []event
	for i, obj := range changed {
		events = append(events, event{FormatVersion, "changed", obj.Kind, obj.Key, items[i]})
	}
	for _, key := range gone {
		events = append(events, event{FormatVersion, "gone", w.Kind, key, nil})
	}
	for _, e := range events {
		if err := w.Output.line(e); err != nil {
			return err
		}
	}
	return nil
}

// line prints v as one line of JSON, or one document of a YAML stream.
func (o Output) line(v any) error {
	if o.Format == YAML {
		if err := o.print("---\n"); err != nil {
			return err
		}
		return writeYAML(o.W, v)
	}
	raw, err := marshal(v)
	if err != nil {
		return err
	}
	return o.print(string(raw) + "\n")
}
