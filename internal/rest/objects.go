package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// list answers with a page of the objects of a kind; with ?objects=true each comes
// with its kind and key around it.
func (a *api) list(kind oprc.Kind) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		win, err := newWindow(r.URL.Query(), sorts[kind])
		if err != nil {
			return err
		}
		wrapped, err := flag(r.URL.Query(), "objects")
		if err != nil {
			return err
		}
		objects, err := a.Control.List(r.Context(), kind)
		if err != nil {
			return err
		}
		objects = slices.Clone(objects)
		if err := order(objects, win.sort); err != nil {
			return err
		}
		p := cut(win, objects)
		if !wrapped {
			for i, o := range p.Items {
				p.Items[i] = shown(o.(reconcile.Object).Doc)
			}
		}
		return a.reply(w, http.StatusOK, p)
	}
}

// shown is a document as the API shows it: with its revision as _rev, whatever
// the ledger calls it.
func shown(doc any) any {
	switch doc := doc.(type) {
	case *reconcile.PackageView:
		return shownPackage{doc.Rev, doc}
	case *reconcile.EnvironmentView:
		return struct {
			Rev int64 `json:"_rev"`
			*reconcile.EnvironmentView
		}{doc.Rev, doc}
	}
	return doc
}

type shownPackage struct {
	Revision int64 `json:"_rev"`
	*reconcile.PackageView
}

// one answers with an object, and its revision as ETag.
func (a *api) one(kind oprc.Kind) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		wrapped, err := flag(r.URL.Query(), "objects")
		if err != nil {
			return err
		}
		o, err := a.Control.Find(r.Context(), kind, r.PathValue("key"))
		if err != nil {
			return err
		}
		if rev, ok := revision(o); ok {
			w.Header().Set("ETag", etag(rev))
		}
		if wrapped {
			return a.reply(w, http.StatusOK, o)
		}
		return a.reply(w, http.StatusOK, shown(o.Doc))
	}
}

// revision returns the _rev of an object that has one. It is there for If-Match
// and not for caching: conditions change without it.
func revision(o reconcile.Object) (int64, bool) {
	switch doc := o.Doc.(type) {
	case *reconcile.PackageView:
		return doc.Rev, true
	case *reconcile.ClassView:
		return doc.Rev, true
	case *reconcile.FunctionView:
		return doc.Rev, true
	case *reconcile.DeploymentView:
		return doc.Rev, true
	case *reconcile.EnvironmentView:
		return doc.Rev, true
	}
	return 0, false
}

func etag(rev int64) string { return fmt.Sprintf(`"%d"`, rev) }

// expected is what If-Match and If-None-Match ask of an object "<kind>/<key>", as a
// condition of the commit.
func expected(r *http.Request, object string) (map[string][]int64, error) {
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	switch {
	case match == "" && none == "":
		return nil, nil
	case none != "" && (match != "" || strings.TrimSpace(none) != "*"):
		return nil, refuse(http.StatusBadRequest, "If-None-Match: only * is taken here, and not beside If-Match")
	case none != "":
		return map[string][]int64{object: {reconcile.Absent}}, nil
	}
	var revs []int64
	for tag := range strings.SplitSeq(match, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" {
			revs = append(revs, reconcile.Present)
		} else if rev, err := strconv.ParseInt(strings.Trim(tag, `"`), 10, 64); err == nil && rev > 0 && tag == etag(rev) {
			revs = append(revs, rev)
		}
	}
	return map[string][]int64{object: revs}, nil
}

// findPackage returns a package's view.
func (a *api) findPackage(r *http.Request, name string) (*reconcile.PackageView, error) {
	o, err := a.Control.Find(r.Context(), oprc.KindPackage, name)
	if err != nil {
		return nil, err
	}
	v, ok := o.Doc.(*reconcile.PackageView)
	if !ok {
		return nil, fmt.Errorf("package %s: the state holds a %T", name, o.Doc)
	}
	return v, nil
}

// updateRuntime merges a CRM's view of a class runtime.
func (a *api) updateRuntime(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("key")
	if err := contentType(r, "application/json"); err != nil {
		return err
	}
	var rt oprc.ClassRuntime
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, oprc.MaxFileSize))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rt); err != nil {
		return badJSON(err)
	}
	at := strings.LastIndexByte(id, '@')
	if at <= 0 || at == len(id)-1 {
		return refuse(http.StatusNotFound, "there is no runtime %q: its id is CLASS@ENVIRONMENT", id)
	}
	cls, env := id[:at], id[at+1:]
	if rt.Key != "" && rt.Key != id || rt.ClsKey != "" && rt.ClsKey != cls || rt.Env != "" && rt.Env != env {
		return refuse(http.StatusBadRequest, "the body is about another runtime than %s", id)
	}
	if err := checkRuntime(rt); err != nil {
		return err
	}
	rt.Key, rt.ClsKey, rt.Env = id, cls, env
	merged, applied, err := a.Control.MergeRuntime(r.Context(), rt)
	if err != nil {
		return err
	}
	return a.reply(w, http.StatusOK, struct {
		oprc.ClassRuntime
		Applied bool `json:"applied"`
	}{merged, applied})
}

func checkRuntime(rt oprc.ClassRuntime) error {
	switch rt.Status {
	case "", oprc.RuntimeRunning, oprc.RuntimeDown, oprc.RuntimeScaling:
	default:
		return refuse(http.StatusBadRequest, "status: %q is none of RUNNING, DOWN and SCALING", rt.Status)
	}
	if rt.LastUpdate.IsZero() {
		return refuse(http.StatusBadRequest, "lastUpdate is missing: it decides which update is newer")
	}
	seen := map[int]bool{}
	for _, p := range rt.Partitions {
		if p.ID < 0 || seen[p.ID] {
			return refuse(http.StatusBadRequest, "partitions: the id %d is negative or stands twice", p.ID)
		}
		seen[p.ID] = true
	}
	return nil
}
