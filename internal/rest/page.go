package rest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

const (
	defaultLimit = 20
	maxLimit     = 1000
)

// A window is the part of a listing that was asked for.
type window struct {
	offset, limit int
	sort          string
	desc          bool
}

// A page is a part of a listing.
type page struct {
	Total     int    `json:"total"`
	Offset    int    `json:"offset"`
	ItemCount int    `json:"itemCount"`
	Items     []any  `json:"items"`
	Next      string `json:"next,omitempty"` // cursor of the next page, of listings that are sorted by key
}

// newWindow reads ?offset=0&limit=20&sort=_key&desc=false. sorts are the members
// that one may sort by, the default first.
func newWindow(q url.Values, sorts []string) (window, error) {
	w := window{limit: defaultLimit, sort: sorts[0]}
	var err error
	if w.offset, err = number(q, "offset", 0, 0, 1<<31-1); err != nil {
		return w, err
	}
	if w.limit, err = number(q, "limit", defaultLimit, 1, maxLimit); err != nil {
		return w, err
	}
	if s := q.Get("sort"); s != "" {
		w.sort = s
	}
	if !slices.Contains(sorts, w.sort) {
		return w, refuse(http.StatusBadRequest, "sort=%s: one may sort by %v", w.sort, sorts)
	}
	w.desc, err = flag(q, "desc")
	return w, err
}

func number(q url.Values, name string, otherwise, least, most int) (int, error) {
	text := q.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, refuse(http.StatusBadRequest, "%s=%s: a number from %d to %d is needed", name, text, least, most)
	}
	return n, nil
}

func flag(q url.Values, name string) (bool, error) {
	text := q.Get(name)
	if text == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, refuse(http.StatusBadRequest, "%s=%s: true or false is needed", name, text)
	}
	return b, nil
}

// cut returns the page of items, which are in ascending order, and what is on it.
func cut[T any](w window, items []T) (page, []T) {
	p, on := page{Total: len(items), Offset: w.offset}, []T{}
	for i := w.offset; i < min(w.offset+w.limit, len(items)); i++ {
		at := i
		if w.desc {
			at = len(items) - 1 - i
		}
		on = append(on, items[at])
	}
	p.ItemCount = len(on)
	return p, on
}

// paged returns the page of items, which are in ascending order, with them on it.
func paged[T any](w window, items []T) page {
	p, on := cut(w, items)
	p.Items = make([]any, len(on))
	for i, item := range on {
		p.Items[i] = item
	}
	return p
}

// sorts are the members that a listing of a kind can be sorted by.
var sorts = map[oprc.Kind][]string{
	oprc.KindPackage:    {"_key", "name", "_rev", "origin", "appliedAt", "condition"},
	oprc.KindClass:      {"_key", "name", "pkg", "_rev", "condition"},
	oprc.KindFunction:   {"_key", "name", "pkg", "_rev", "type"},
	oprc.KindDeployment: {"_key", "pkg", "_rev", "condition", "units", "running", "drift"},
	oprc.KindUnit:       {"_key", "condition", "generation", "dispatchedAt", "drift"},
	oprc.KindRuntime:    {"_key", "clsKey", "env", "status", "lastUpdate"},
	oprc.KindEnv:        {"_key", "name", "_rev", "health", "availability", "units"},
	oprc.KindCRM:        {"_key", "crm", "env", "ts", "alive"},
	oprc.KindSource:     {"_key", "name", "url", "lastTick"},
}

// order sorts objects by a member of their documents, ties by key. The objects
// come sorted by key.
func order(objects []reconcile.Object, by string) error {
	if by == "_key" {
		return nil
	}
	values := make(map[string]any, len(objects))
	for _, o := range objects {
		raw, err := json.Marshal(shown(o.Doc))
		if err != nil {
			return fmt.Errorf("sort: %w", err)
		}
		var doc map[string]json.RawMessage
		if err := json.Unmarshal(raw, &doc); err != nil {
			return fmt.Errorf("sort: %w", err)
		}
		var v any
		if doc[by] != nil {
			_ = json.Unmarshal(doc[by], &v) // it is valid: it was just marshalled
		}
		values[o.Key] = v
	}
	slices.SortStableFunc(objects, func(x, y reconcile.Object) int { return compare(values[x.Key], values[y.Key]) })
	return nil
}

// compare orders numbers by value and all else by text; what is missing is first.
func compare(x, y any) int {
	if a, ok := x.(float64); ok {
		if b, ok := y.(float64); ok {
			return cmp.Compare(a, b)
		}
	}
	return cmp.Compare(text(x), text(y))
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
