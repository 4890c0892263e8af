package view

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"k8s.io/client-go/util/jsonpath"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// The formats that a user writes: NAME=TEMPLATE. They work on what JSON prints.
const (
	JSONPath      Format = "jsonpath"
	CustomColumns Format = "custom-columns" // HEADER:.path,…
	GoTemplate    Format = "go-template"
)

// template divides a format such as jsonpath={.key}.
func (f Format) template() (name Format, text string, ok bool) {
	before, text, ok := strings.Cut(string(f), "=")
	return Format(before), text, ok
}

// A renderer prints one value.
type renderer func(w io.Writer, v any) error

// parseTemplate returns what prints a listing or an object as a template says.
func parseTemplate(name Format, text string) (renderer, error) {
	switch name {
	case JSONPath:
		p, err := parsePath(text)
		if err != nil {
			return nil, err
		}
		return p.Execute, nil
	case CustomColumns:
		return parseColumns(text)
	case GoTemplate:
		t, err := template.New("output").Option("missingkey=zero").Parse(text)
		if err != nil {
			return nil, err
		}
		return t.Execute, nil
	}
	return nil, fmt.Errorf("unknown template %q", name)
}

// parsePath reads a JSONPath; the braces around it may be left out.
func parsePath(text string) (*jsonpath.JSONPath, error) {
	if !strings.Contains(text, "{") {
		text = "{." + strings.TrimPrefix(strings.TrimPrefix(text, "$"), ".") + "}"
	}
	p := jsonpath.New("output").AllowMissingKeys(true)
	return p, p.Parse(text)
}

// parseColumns reads HEADER:PATH,…
func parseColumns(text string) (renderer, error) {
	var header []string
	var paths []*jsonpath.JSONPath
	for part := range strings.SplitSeq(text, ",") {
		name, path, ok := strings.Cut(part, ":")
		if !ok || name == "" || path == "" {
			return nil, fmt.Errorf("custom column %q: expected HEADER:.path", part)
		}
		p, err := parsePath(path)
		if err != nil {
			return nil, fmt.Errorf("custom column %q: %w", part, err)
		}
		header, paths = append(header, name), append(paths, p)
	}
	return func(w io.Writer, v any) error {
		items := []any{v}
		if doc, ok := v.(map[string]any); ok {
			if list, ok := doc["items"].([]any); ok {
				items = list
			}
		}
		t := table{header: header}
		for _, item := range items {
			cells := make([]string, len(paths))
			for i, p := range paths {
				cell, err := pathText(p, item)
				if err != nil {
					return err
				}
				cells[i] = firstOf(clean(cell), "<none>")
			}
			t.add(cells...)
		}
		_, err := io.WriteString(w, t.render(""))
		return err
	}, nil
}

func pathText(p *jsonpath.JSONPath, v any) (string, error) {
	var out bytes.Buffer
	err := p.Execute(&out, v)
	return out.String(), err
}

// rendered prints a document as the format's template says, with the end of a line.
func (o Output) rendered(doc any) error {
	name, text, _ := o.Format.template()
	render, err := parseTemplate(name, text)
	if err != nil {
		return err
	}
	v, err := plainJSON(doc)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := render(&out, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if out.Len() > 0 && !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
		out.WriteByte('\n')
	}
	return o.print(out.String())
}

// plainJSON returns what v is as JSON, as maps and lists.
func plainJSON(v any) (any, error) {
	raw, err := marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // 1e+06 would be no number that people read
	err = dec.Decode(&out)
	return out, err
}

// A Sorter puts objects in order.
type Sorter struct {
	column string
	path   *jsonpath.JSONPath
}

// ParseSorter reads what --sort-by takes: the header of a column, or a path such as
// .spec.version.
func ParseSorter(by string) (Sorter, error) {
	if strings.HasPrefix(by, ".") || strings.HasPrefix(by, "{") {
		p, err := parsePath(by)
		if err != nil {
			return Sorter{}, fmt.Errorf("--sort-by %q: %w", by, err)
		}
		return Sorter{path: p}, nil
	}
	return Sorter{column: strings.ToUpper(by)}, nil
}

// Cell returns what a column of the wide listing holds for an object; ok is false if
// there is no such column.
func (o Output) Cell(obj reconcile.Object, column string) (text string, ok bool) {
	row := o.row(obj)
	for i, name := range columns(obj.Kind, true) {
		if name == strings.ToUpper(column) && i < len(row) {
			return plainText(row[i]), true
		}
	}
	return "", false
}

// Sort puts objects in the order that by says, those that are equal in the order
// that they have.
func (o Output) Sort(list []reconcile.Object, by Sorter) error {
	o.Now = time.Time{} // times sort as times
	keys := make(map[string]string, len(list))
	for _, obj := range list {
		id := string(obj.Kind) + "/" + obj.Key
		if by.path == nil {
			cell, ok := o.Cell(obj, by.column)
			if !ok {
				return fmt.Errorf("--sort-by %s: %ss have the columns %s", strings.ToLower(by.column), obj.Kind, strings.ToLower(strings.Join(columns(obj.Kind, true), ", ")))
			}
			keys[id] = cell
			continue
		}
		items, err := o.items([]reconcile.Object{obj})
		if err != nil {
			return err
		}
		v, err := plainJSON(items[0])
		if err != nil {
			return err
		}
		if keys[id], err = pathText(by.path, v); err != nil {
			return fmt.Errorf("--sort-by: %w", err)
		}
	}
	slices.SortStableFunc(list, func(a, b reconcile.Object) int {
		return compareCells(keys[string(a.Kind)+"/"+a.Key], keys[string(b.Kind)+"/"+b.Key])
	})
	return nil
}

var styles = lazyregexp.New(`\x1b\[[0-9;]*m`)

func plainText(cell string) string { return styles().ReplaceAllString(cell, "") }

// compareCells orders numbers as numbers, and what begins with one, such as 2/3, by it.
func compareCells(a, b string) int {
	x, errX := strconv.ParseFloat(leadingNumber().FindString(a), 64)
	y, errY := strconv.ParseFloat(leadingNumber().FindString(b), 64)
	if errX == nil && errY == nil && !strings.Contains(a, "T") {
		return cmp.Or(cmp.Compare(x, y), strings.Compare(a, b))
	}
	return strings.Compare(a, b)
}

var leadingNumber = lazyregexp.New(`^-?[0-9]+(\.[0-9]+)?`)
