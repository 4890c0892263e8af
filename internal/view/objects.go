package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// Objects prints a listing of one kind as text, wide, JSON, YAML or names. An
// empty one prints only its header.
func (o Output) Objects(kind oprc.Kind, list []reconcile.Object) error {
	switch {
	case o.Format.Machine():
		items, err := o.items(list)
		if err != nil {
			return err
		}
		return o.Document(struct {
			FormatVersion string `json:"formatVersion"`
			Items         []item `json:"items"`
		}{FormatVersion, items})
	case o.Format == Name:
		return o.print(names(list))
	}
	return o.print(o.listing(kind, list) + o.unready(list))
}

// unready says of sources that are not ready why, and what to do: under the table, for
// that is long.
func (o Output) unready(list []reconcile.Object) string {
	var b strings.Builder
	for _, obj := range list {
		s, is := obj.Doc.(*oprc.SourceStatus)
		if !is || o.Format == Wide || o.NoHeaders {
			continue
		}
		for _, c := range s.Conditions {
			if c.Type == "Ready" && !c.Status {
				fmt.Fprintf(&b, "\n%s: %s: %s\n", clean(s.Name), clean(c.Reason), clean(c.Message))
			}
		}
	}
	return b.String()
}

// listing is the table of one kind.
func (o Output) listing(kind oprc.Kind, list []reconcile.Object) string {
	header := columns(kind, o.Format == Wide)
	t := table{header: header}
	more := map[string]bool{} // columns that are shown when there is something in them
	if o.Format != Wide {
		for _, name := range []string{"DRIFT", "ERROR"} {
			for _, obj := range list {
				if cell, ok := o.Cell(obj, name); ok && cell != "-" && !slices.Contains(header, name) {
					more[name] = true
				}
			}
			if more[name] {
				t.header = append(t.header, name)
			}
		}
	}
	for _, obj := range list {
		row := o.row(obj)[:len(header)]
		for _, name := range t.header[len(header):] {
			cell, _ := o.Cell(obj, name)
			row = append(row, cut(cell, 60))
		}
		t.add(row...)
	}
	if o.Format != Wide {
		t.fit("ENVIRONMENTS", o.Columns, firstFew)
		t.fit("ERROR", o.Columns, cut)
	}
	if o.NoHeaders {
		t.header = nil
	}
	return t.render("")
}

// Sections prints the listings of several kinds: one document, or a table for each
// kind that has objects, with an empty line between them. Each table has its kind above it.
func (o Output) Sections(lists [][]reconcile.Object) error {
	if o.Format.Machine() || o.Format == Name {
		return o.Objects("", slices.Concat(lists...))
	}
	first := true
	for _, list := range lists {
		if len(list) == 0 {
			continue
		}
		if !first {
			if err := o.print("\n"); err != nil {
				return err
			}
		}
		first = false
		if err := o.print(bold(strings.ToUpper(string(list[0].Kind))) + "\n"); err != nil {
			return err
		}
		if err := o.Objects(list[0].Kind, list); err != nil {
			return err
		}
	}
	return nil
}

// Object prints one object: a machine format holds the object itself, text a
// listing of one.
func (o Output) Object(obj reconcile.Object) error {
	if list := []reconcile.Object{obj}; o.Format == Name {
		return o.print(names(list))
	} else if !o.Format.Machine() {
		return o.print(o.listing(obj.Kind, list))
	}
	items, err := o.items([]reconcile.Object{obj})
	if err != nil {
		return err
	}
	raw := append([]byte(`{"formatVersion":"`+FormatVersion+`",`), items[0][1:]...)
	return o.Document(json.RawMessage(raw))
}

func names(list []reconcile.Object) string {
	var b strings.Builder
	for _, obj := range list {
		fmt.Fprintf(&b, "%s/%s\n", obj.Kind, clean(obj.Key))
	}
	return b.String()
}

// An item is an object's document with its kind and key in front.
type item = json.RawMessage

func (o Output) items(list []reconcile.Object) ([]item, error) {
	out := make([]item, len(list))
	for i, obj := range list {
		head, err := marshal(struct {
			Kind oprc.Kind `json:"kind"`
			Key  string    `json:"key"`
		}{obj.Kind, obj.Key})
		if err != nil {
			return nil, err
		}
		doc, err := marshal(obj.Doc)
		if err != nil {
			return nil, err
		}
		doc = o.masked(doc)
		if doc = bytes.TrimPrefix(doc, []byte("{")); len(doc) > 1 { // more than the closing brace
			head = append(head[:len(head)-1], ',')
			head = append(head, doc...)
		}
		out[i] = head
	}
	return out, nil
}

// masked hides the secrets of one JSON document, as a plan's are hidden.
func (o Output) masked(doc []byte) []byte {
	if len(o.Mask) == 0 {
		return doc
	}
	return oprc.MustCanonical(oprc.Secrets{Patterns: o.Mask}.Hide(doc))
}

// columns returns the header of a listing; wide adds the last few. Rows have the
// wide ones always.
func columns(kind oprc.Kind, wide bool) []string {
	plain, more := "", ""
	switch kind {
	case oprc.KindPackage:
		plain, more = "NAME REV CONDITION CLASSES FUNCTIONS DEPLOYMENTS ORIGIN AGE", "VERSION APPLIED-BY SOURCE DIGEST"
	case oprc.KindClass:
		plain, more = "KEY STATE-TYPE FUNCTIONS PARENTS CONDITION", "REV CONSISTENCY AVAILABILITY DISABLED"
	case oprc.KindFunction:
		plain, more = "KEY TYPE STATE CONDITION IMAGE", "REV INVOCATION-URL ERROR"
	case oprc.KindDeployment:
		plain, more = "KEY CONDITION RUNNING PARTITIONS REPLICAS ENVIRONMENTS", "REV SHARD-TYPE DRIFT SPEC-HASH ERROR"
	case oprc.KindUnit:
		plain, more = "ID CONDITION GENERATION CRM AGE", "OBSERVED PRIMARY DRIFT SPEC-HASH REVISION ERROR"
	case oprc.KindRuntime:
		plain, more = "KEY STATUS PARTITIONS UPDATED", "REPLICAS"
	case oprc.KindEnv:
		plain, more = "NAME DEFAULT HEALTH AVAILABILITY CRMS UNITS", "CAPACITY ORIGIN REV LABELS TEMPLATES"
	case oprc.KindCRM:
		plain, more = "ID ENVIRONMENT ALIVE AVAILABILITY LAST-SEEN", "CAPACITY TEMPLATES SINCE"
	case oprc.KindSource:
		plain, more = "NAME READY HEALTHY SUSPENDED REVISION APPLIED URL", "REF PATH LAST-TICK HELD MESSAGE"
	}
	if wide {
		plain += " " + more
	}
	return strings.Fields(plain)
}
