package console

import (
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A table is rows under a heading, one page of them.
type table struct {
	Title, Empty string
	Head         []column
	Rows         [][]cell
	Pager        pager
}

// A column can be sorted by if Sort names a member.
type column struct {
	Title, Sort string
	Number      bool
}

// A cell shows one value: a state by its colour and word, a time by how long ago it was.
type cell struct {
	Text, Href, Note string
	State            bool
	Code             bool
	Number           bool
	At               time.Time
}

func text(s string) cell        { return cell{Text: s} }
func code(s string) cell        { return cell{Text: s, Code: true} }
func state[T ~string](s T) cell { return cell{Text: string(s), State: s != ""} }
func number[T ~int | ~int64](n T) cell {
	return cell{Text: strconv.FormatInt(int64(n), 10), Number: true}
}
func when(t time.Time) cell    { return cell{At: t} }
func link(s, href string) cell { return cell{Text: s, Href: href} }

// to is a link to an object's page.
func to(path, key string) cell {
	if key == "" {
		return cell{}
	}
	return link(key, pathOf(path, key))
}

func pathOf(path, key string) string {
	segments := strings.Split(key, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return "/ui/" + path + "/" + strings.Join(segments, "/")
}

var paths = map[oprc.Kind]string{
	oprc.KindPackage: "packages", oprc.KindClass: "classes", oprc.KindFunction: "functions", oprc.KindDeployment: "deployments",
	oprc.KindUnit: "units", oprc.KindEnv: "environments", oprc.KindCRM: "crms", oprc.KindSource: "sources",
}

// pageOf is the page of an object, by kind.
func pageOf[T ~string](kind T, key string) string {
	if path, ok := paths[oprc.Kind(kind)]; ok {
		return pathOf(path, key)
	}
	if string(kind) == string(oprc.KindRuntime) {
		if class, _, ok := strings.Cut(key, "@"); ok {
			return pathOf("deployments", class)
		}
	}
	return ""
}

func yes(b bool, word string) cell {
	if b {
		return text(word)
	}
	return cell{}
}

// A pager says which part of a listing is shown.
type pager struct {
	From, To, Total int
	Before, After   string // addresses of the pages before and after; "": there is none
}

const pageSize = 50

// paged is the pager of what a query asked for.
func paged(at *url.URL, offset, count, total int) pager {
	p := pager{From: min(offset+1, total), To: offset + count, Total: total}
	with := func(offset int) string {
		q := at.Query()
		q.Set("offset", strconv.Itoa(offset))
		q.Del("done")
		return at.Path + "?" + q.Encode()
	}
	if offset > 0 {
		p.Before = with(max(0, offset-pageSize))
	}
	if p.To < total {
		p.After = with(offset + pageSize)
	}
	return p
}

// window is the part of the query that chooses a page of a listing.
func window(q url.Values, filters ...string) url.Values {
	out := url.Values{"limit": {strconv.Itoa(pageSize)}}
	for _, name := range append([]string{"offset", "sort", "desc"}, filters...) {
		if value := q.Get(name); value != "" {
			out.Set(name, value)
		}
	}
	return out
}

func offsetOf(q url.Values) int {
	n, _ := strconv.Atoi(q.Get("offset")) // the API refuses what is no number
	return n
}

// short cuts the digests and commits that people compare by their beginnings.
func short(s string) string {
	s = strings.TrimPrefix(s, "sha256:")
	if len(s) > 12 && strings.Trim(s, "0123456789abcdef") == "" {
		return s[:12]
	}
	return s
}

// tone is the class of a state's colour.
func tone(s string) string {
	switch strings.ToUpper(s) {
	case "RUNNING", "HEALTHY", "READY", "FRESH", "ALIVE", "TRUE":
		return "ok"
	case "DOWN", "STALLED", "SILENT", "ERROR", "REFUSED":
		return "bad"
	case "DEGRADED", "HELD", "SUSPENDED", "WARNING", "DRIFT":
		return "warn"
	case "PENDING", "DEPLOYING", "SCALING", "RECONCILING", "STALE":
		return "busy"
	}
	return "none"
}

// A line of a document: its key, and its value where it has no members.
type outlined struct {
	Depth      int
	Key, Value string
}

// outline lists the members of a document, nested as they are; what is empty is left out.
func outline(doc any) []outlined {
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	var out []outlined
	var walk func(depth int, key string, v any)
	walk = func(depth int, key string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if len(v) == 0 {
				return
			}
			out = append(out, outlined{depth, key, nameOf(v)})
			for _, k := range slices.Sorted(maps.Keys(v)) {
				if k != "name" || nameOf(v) == "" {
					walk(depth+1, k, v[k])
				}
			}
		case []any:
			if len(v) == 0 {
				return
			}
			if scalars(v) {
				out = append(out, outlined{depth, key, joined(v)})
				return
			}
			out = append(out, outlined{depth, key, ""})
			for _, member := range v {
				walk(depth+1, "–", member)
			}
		case nil:
		case string:
			if v != "" {
				out = append(out, outlined{depth, key, v})
			}
		default:
			out = append(out, outlined{depth, key, fmt.Sprint(v)})
		}
	}
	if members, ok := v.(map[string]any); ok {
		for _, k := range slices.Sorted(maps.Keys(members)) {
			walk(0, k, members[k])
		}
	}
	return out
}

func nameOf(v map[string]any) string {
	name, _ := v["name"].(string)
	return name
}

func scalars(v []any) bool {
	return !slices.ContainsFunc(v, func(e any) bool {
		switch e.(type) {
		case map[string]any, []any:
			return true
		}
		return false
	})
}

func joined(v []any) string {
	words := make([]string, len(v))
	for i, e := range v {
		words[i] = fmt.Sprint(e)
	}
	return strings.Join(words, ", ")
}

var functions = template.FuncMap{
	"short": short,
	"tone":  tone,
	"lower": strings.ToLower,
	"add":   func(a, b int) int { return a + b },
	"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"page":  func(kind oprc.Kind, key string) string { return pageOf(kind, key) },
	"words": func(w []string) string { return strings.Join(w, " ") },
	"list":  func(w []string) string { return strings.Join(w, ", ") },
	"json":  func(raw json.RawMessage) string { return string(raw) },
	"sorted": func(at, by string) string {
		u, err := url.Parse(at)
		if err != nil {
			return at
		}
		q := u.Query()
		if q.Get("sort") == by && q.Get("desc") == "" {
			q.Set("desc", "true")
		} else {
			q.Del("desc")
		}
		q.Set("sort", by)
		q.Del("offset")
		return u.Path + "?" + q.Encode()
	},
	"percent": func(f float64) string {
		if f == 0 {
			return "–"
		}
		return strings.TrimRight(strings.TrimRight(strconv.FormatFloat(f*100, 'f', 4, 64), "0"), ".") + " %"
	},
	"tab": func(f frame, section, href, text string) map[string]any {
		return map[string]any{"Href": href, "Text": text, "On": f.Section == section}
	},
	"tableOf": func(t table, label, at string) map[string]any {
		return map[string]any{"Table": t, "Label": label, "URL": at}
	},
	"has":    func(list []string, s string) bool { return slices.Contains(list, s) },
	"fields": func(names ...string) []string { return names },
	"sub":    func(a, b int) int { return a - b },
	"clip": func(s string, most int) string {
		if r := []rune(s); len(r) > most {
			return "…" + string(r[len(r)-most+1:])
		}
		return s
	},
}
