package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// list answers with a page of the objects of a kind; with ?objects=true each comes
// with its kind and key around it.
func (a *api) list(kind oprc.Kind) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		q := r.URL.Query()
		win, err := newWindow(q, sorts[kind])
		if err != nil {
			return err
		}
		if q.Get("after") != "" && (win.sort != "_key" || win.offset > 0) {
			return refuse(http.StatusBadRequest, "after goes neither with offset nor with another sort than _key")
		}
		keep, err := newFilter(q)
		if err != nil {
			return err
		}
		p, objects, err := a.pageOf(r, kind, win, keep)
		if err != nil {
			return err
		}
		p.Items = make([]any, len(objects))
		for i, o := range objects {
			if p.Items[i], err = present(caller(r).part(o), q); err != nil {
				return err
			}
		}
		return a.reply(w, r, http.StatusOK, p)
	}
}

// pageOf returns the page of a kind that was asked for, and the objects on it. Documents
// are read for that page alone, unless those of the others decide what is on it.
func (a *api) pageOf(r *http.Request, kind oprc.Kind, win window, keep filter) (page, []reconcile.Object, error) {
	who, after := caller(r), r.URL.Query().Get("after")
	if kind == oprc.KindSource || kind == oprc.KindRuntime {
		objects, err := a.Control.List(r.Context(), kind)
		if err != nil {
			return page{}, nil, err
		}
		return choose(objects, who, keep, win, after)
	}
	in, err := a.Control.Inspect(r.Context())
	if err != nil {
		return page{}, nil, err
	}
	keys, err := in.Keys(kind)
	if err != nil {
		return page{}, nil, err
	}
	if win.sort != "_key" || !keep.none() || who.limited() {
		objects, err := in.Objects(r.Context(), kind, keep.candidates(kind, keys))
		if err != nil {
			return page{}, nil, err
		}
		return choose(objects, who, keep, win, after)
	}
	p, keys := cut(win.from(keys, after), keys)
	if p.Offset = win.offset; len(keys) == win.limit {
		p.Next = keys[len(keys)-1]
	}
	objects, err := in.Objects(r.Context(), kind, keys)
	return p, objects, err
}

// choose cuts a page out of objects, which are sorted by key.
func choose(objects []reconcile.Object, who *Identity, keep filter, win window, after string) (page, []reconcile.Object, error) {
	objects = slices.DeleteFunc(slices.Clone(objects), func(o reconcile.Object) bool { return !who.sees(o) || !keep.passes(o) })
	if err := order(objects, win.sort); err != nil {
		return page{}, nil, err
	}
	keys := make([]string, len(objects))
	for i, o := range objects {
		keys[i] = o.Key
	}
	p, objects := cut(win.from(keys, after), objects)
	if p.Offset = win.offset; win.sort == "_key" && len(objects) == win.limit {
		p.Next = objects[len(objects)-1].Key
	}
	return p, objects, nil
}

// from is the window behind the key after, of keys that are sorted; "" is before them all.
func (w window) from(keys []string, after string) window {
	if after == "" {
		return w
	}
	i, found := slices.BinarySearch(keys, after)
	switch {
	case w.desc:
		i = len(keys) - i
	case found:
		i++
	}
	w.offset += i
	return w
}

// present is an object as the query wants it.
func present(o reconcile.Object, q url.Values) (any, error) {
	wrapped, err := flag(q, "objects")
	switch {
	case err != nil:
		return nil, err
	case wrapped:
		return o, nil
	}
	doc := shown(o.Doc)
	if q.Get("fields") == "" {
		return doc, nil
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	some := map[string]json.RawMessage{}
	for name := range strings.SplitSeq(q.Get("fields"), ",") {
		if v, ok := all[name]; ok {
			some[name] = v
		}
	}
	return some, nil
}

// one answers with an object, and its revision in the ETag.
func (a *api) one(kind oprc.Kind) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		o, err := a.Control.Find(r.Context(), kind, r.PathValue("key"))
		if err != nil {
			return err
		}
		return a.replyObject(w, r, http.StatusOK, o)
	}
}

// replyObject answers with one object. One that is not the caller's to see is not there.
func (a *api) replyObject(w http.ResponseWriter, r *http.Request, status int, o reconcile.Object) error {
	if !caller(r).sees(o) {
		return fmt.Errorf("%s %q: %w", o.Kind, o.Key, oprc.ErrNotFound)
	}
	doc, err := present(caller(r).part(o), r.URL.Query())
	if err != nil {
		return err
	}
	raw, err := a.encode(r, doc)
	if err != nil {
		return err
	}
	if rev, ok := revision(o); ok {
		w.Header().Set("ETag", etag(rev, raw))
	}
	return a.send(w, r, status, append(raw, '\n'))
}

// revision returns the _rev of an object that has one.
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

// etag carries the revision, which If-Match is about, and stands for the answer, which
// If-None-Match is about: conditions change without the revision.
func etag(rev int64, raw []byte) string { return fmt.Sprintf(`"%d.%s"`, rev, contentTag(raw)) }

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
		number, _, _ := strings.Cut(strings.Trim(tag, `"`), ".") // an ETag of ours, or the revision alone
		rev, err := strconv.ParseInt(number, 10, 64)
		switch {
		case tag == "*":
			revs = append(revs, reconcile.Present)
		case err != nil || rev <= 0 || !strings.HasPrefix(tag, `"`) || !strings.HasSuffix(tag, `"`):
			return nil, refuse(http.StatusBadRequest, "If-Match: %s is no ETag of this server: send that of an answer, or a revision in quotes", clip(tag))
		default:
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
	if !caller(r).sees(o) {
		return nil, fmt.Errorf("package %q: %w", name, oprc.ErrNotFound)
	}
	return v, nil
}

// A runtimeUpdate is what somebody knows of a class runtime.
type runtimeUpdate struct {
	Key        string                  `json:"_key,omitempty"`
	ClsKey     string                  `json:"clsKey,omitempty"`
	Env        string                  `json:"env,omitempty"`
	Status     oprc.RuntimeStatus      `json:"status,omitempty"`
	LastUpdate time.Time               `json:"lastUpdate"`
	Partitions []oprc.RuntimePartition `json:"partitions,omitempty"`
}

// An updatedRuntime is a runtime as it is now.
type updatedRuntime struct {
	oprc.ClassRuntime
	Applied bool `json:"applied"`
}

// updateRuntime merges a CRM's view of a class runtime.
func (a *api) updateRuntime(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("key")
	var rt runtimeUpdate
	if err := readOptions(w, r, &rt); err != nil {
		return err
	}
	at := strings.LastIndexByte(id, '@')
	if at <= 0 || at == len(id)-1 {
		return refuse(http.StatusNotFound, "there is no runtime %q: its id is CLASS@ENVIRONMENT", clip(id))
	}
	cls, env := id[:at], id[at+1:]
	if rt.Key != "" && rt.Key != id || rt.ClsKey != "" && rt.ClsKey != cls || rt.Env != "" && rt.Env != env {
		return refuse(http.StatusBadRequest, "the body is about another runtime than %s", clip(id))
	}
	o, err := a.Control.Find(r.Context(), oprc.KindRuntime, id)
	if err != nil {
		return err
	}
	if !caller(r).sees(o) {
		return fmt.Errorf("runtime %q: %w", id, oprc.ErrNotFound)
	}
	if err := a.checkRuntime(r, cls, rt); err != nil {
		return err
	}
	merged, applied, err := a.Control.MergeRuntime(r.Context(), oprc.ClassRuntime{
		Key: id, ClsKey: cls, Env: env, Status: rt.Status, LastUpdate: rt.LastUpdate, Partitions: rt.Partitions,
	})
	if err != nil {
		return err
	}
	return a.reply(w, r, http.StatusOK, updatedRuntime{merged, applied})
}

// aheadOfUs is how far the clock of somebody who reports may be ahead.
const aheadOfUs = 5 * time.Minute

func (a *api) checkRuntime(r *http.Request, cls string, rt runtimeUpdate) error {
	switch rt.Status {
	case "", oprc.RuntimeRunning, oprc.RuntimeDown, oprc.RuntimeScaling:
	default:
		return refuse(http.StatusBadRequest, "status: %q is none of RUNNING, DOWN and SCALING", clip(string(rt.Status)))
	}
	latest := a.now().Add(aheadOfUs)
	switch {
	case rt.LastUpdate.IsZero():
		return refuse(http.StatusBadRequest, "lastUpdate is missing: it decides which update is newer")
	case rt.LastUpdate.After(latest):
		return refuse(http.StatusBadRequest, "lastUpdate is %s, which is in the future", rt.LastUpdate.UTC().Format(time.RFC3339))
	}
	count := 0
	if o, err := a.Control.Find(r.Context(), oprc.KindDeployment, cls); err == nil {
		if v, ok := o.Doc.(*reconcile.DeploymentView); ok {
			count = v.PartitionCount
		}
	}
	seen := map[int]bool{}
	for _, p := range rt.Partitions {
		switch {
		case p.ID < 0 || seen[p.ID]:
			return refuse(http.StatusBadRequest, "partitions: the id %d is negative or there twice", p.ID)
		case count > 0 && p.ID >= count:
			return refuse(http.StatusBadRequest, "partitions: there is no partition %d: %s has %d", p.ID, cls, count)
		case p.Time.After(latest):
			return refuse(http.StatusBadRequest, "partitions: the time of partition %d is in the future", p.ID)
		}
		seen[p.ID] = true
	}
	return nil
}
