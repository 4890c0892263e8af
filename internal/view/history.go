package view

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// History prints the writes of one package's record.
func (o Output) History(entries []oprc.HistoryEntry) error {
	if o.Format == JSON || o.Format == YAML {
		return o.historyDocument(entries)
	}
	wide := o.Format == Wide
	t := table{header: []string{"REV", "AGE", "ACTION", "ACTOR", "ORIGIN", "COMMIT", "MESSAGE"}}
	if wide {
		t.header = append(t.header, "DIGEST", "PLAN")
	}
	for _, e := range entries {
		row := []string{
			revOf(e), o.age(e.Time), dash(e.Action), dash(e.Actor), dash(e.Origin), dash(shortDigest(e.Commit)),
			dash(cut(firstOf(e.Error, e.Message), 60)), dash(shortDigest(e.Digest)), dash(shortDigest(e.PlanID)),
		}
		t.add(row[:len(t.header)]...)
	}
	return o.print(t.render(""))
}

// revOf is a dash for what was not written.
func revOf(e oprc.HistoryEntry) string {
	if e.Rev == 0 {
		return dash("")
	}
	return rev(e.Rev)
}

func (o Output) historyDocument(entries []oprc.HistoryEntry) error {
	items := make([]json.RawMessage, len(entries))
	for i, e := range entries {
		doc, err := marshal(e)
		if err != nil {
			return err
		}
		items[i] = o.masked(doc)
	}
	return o.Document(struct {
		FormatVersion string            `json:"formatVersion"`
		Items         []json.RawMessage `json:"items"`
	}{FormatVersion, items})
}

// Events prints events, oldest first. As JSON it is one document.
func (o Output) Events(events []oprc.Event) error {
	if o.Format == JSON || o.Format == YAML {
		return o.Document(struct {
			FormatVersion string       `json:"formatVersion"`
			Items         []oprc.Event `json:"items"`
		}{FormatVersion, events})
	}
	t := o.eventTable(events)
	return o.print(t.render(""))
}

// Event prints one event as a line of a stream: JSON lines, or text. A stream has
// no columns to align, so each line stands alone.
func (o Output) Event(e oprc.Event) error {
	if o.Format == JSON || o.Format == YAML {
		return o.line(e)
	}
	return o.print(EventLine(e) + "\n")
}

// EventLine is one event in one line of styled text, with the time of day where the reader is.
func EventLine(e oprc.Event) string {
	parts := []string{faint(e.Time.Local().Format(time.TimeOnly)), bold(clean(e.Type))}
	if e.Key != "" {
		parts = append(parts, strings.TrimPrefix(fmt.Sprintf("%s/%s", e.Kind, clean(e.Key)), "/"))
	}
	if e.To != "" {
		parts = append(parts, condition(e.From)+" → "+condition(e.To))
	}
	if e.Message != "" {
		parts = append(parts, clean(e.Message))
	}
	if e.Actor != "" {
		parts = append(parts, faint("by "+clean(e.Actor)))
	}
	return strings.Join(parts, " ")
}
