package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

var (
	// ErrUnavailable means that a server cannot be reached, or cannot serve now. The
	// error that wraps it says which address.
	ErrUnavailable = errors.New("server is unavailable")
	// ErrDenied means that a server refuses the token, or that there is none.
	ErrDenied = errors.New("server denies access")
)

// A Client asks a server for what the ledger would answer, with the same kinds of
// errors. Its methods may be called concurrently.
type Client struct {
	URL   string       // http://host:8080, with or without /api
	Token string       // bearer token; "": none
	HTTP  *http.Client // nil: http.DefaultClient
}

// Plan asks what would make the request true. A plan that was refused comes with
// its error.
func (c *Client) Plan(ctx context.Context, req reconcile.Request) (*plan.Plan, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	raw, err := c.do(ctx, http.MethodPost, "/plan", nil, requestType, body)
	var refused *refusedPlan
	if errors.As(err, &refused) {
		p, bad := plan.Decode(refused.plan)
		return p, errors.Join(refused.err, bad)
	}
	if err != nil {
		return nil, err
	}
	p, err := plan.Decode(raw)
	return p, c.understood(err)
}

// persist is how long a reviewed request is planned again because others write.
const persist = 30 * time.Second

// Apply makes the request true, under the conditions, or fails. What is to be reviewed is
// planned first; the server then removes nothing that the reviewed plan does not remove.
func (c *Client) Apply(ctx context.Context, req reconcile.Request, cond reconcile.Conditions, by reconcile.Actor) (*reconcile.Result, error) {
	if cond.Review == nil {
		return c.apply(ctx, req, cond, by)
	}
	over := time.NewTimer(persist)
	defer over.Stop()
	for seen := ""; ; {
		p, err := c.Plan(ctx, req)
		if err != nil && (p == nil || cond.PlanID == "" || p.ID == cond.PlanID) {
			return nil, err
		}
		if err == nil && p.ID != seen && (cond.PlanID == "" || p.ID == cond.PlanID) {
			if err := cond.Review(ctx, p); err != nil {
				return nil, err
			}
			seen = p.ID
			over.Reset(persist) // a person took some to look
		}
		agreed := cond
		agreed.Removals, agreed.AnyRemovals = p.Removals(), false
		if cond.Exact && cond.PlanID == "" {
			agreed.PlanID = p.ID
		}
		res, err := c.apply(ctx, req, agreed, by)
		again := cond.PlanID == "" && (errors.Is(err, oprc.ErrHeld) || cond.Exact && errors.Is(err, oprc.ErrConflict))
		if err == nil || !again || ctx.Err() != nil {
			return res, err
		}
		select {
		case <-over.C:
			return res, err
		default:
		}
	}
}

func (c *Client) apply(ctx context.Context, req reconcile.Request, cond reconcile.Conditions, by reconcile.Actor) (*reconcile.Result, error) {
	body, err := json.Marshal(application{req, cond})
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	q := url.Values{"actor": {by.Name}, "revision": {by.Revision}, "message": {by.Message}}
	raw, err := c.do(ctx, http.MethodPost, "/apply", q, requestType, body)
	if err != nil {
		return nil, err
	}
	res := new(reconcile.Result)
	return res, c.understood(json.Unmarshal(raw, res))
}

// Wake asks the daemon to look at a source now. The receipt of a look that begins
// later carries the ticket, or a higher one.
func (c *Client) Wake(ctx context.Context, source string) (int64, error) {
	var t ticket
	err := c.post(ctx, "/sources/"+url.PathEscape(source)+"/reconcile", reconcile.Actor{}, nil, &t)
	return t.Ticket, err
}

// Suspend makes the daemon leave a source alone for so long; 0 is until somebody resumes
// it.
func (c *Client) Suspend(ctx context.Context, source, reason string, length time.Duration, by reconcile.Actor) error {
	o := suspending{Reason: reason}
	if length > 0 {
		o.For = length.String()
	}
	return c.post(ctx, "/sources/"+url.PathEscape(source)+"/suspend", by, o, nil)
}

// Resume ends a suspension; was is false if there was none.
func (c *Client) Resume(ctx context.Context, source string, by reconcile.Actor) (was bool, err error) {
	o, err := c.Find(ctx, oprc.KindSource, source)
	if err != nil {
		return false, err
	}
	st, ok := o.Doc.(*oprc.SourceStatus)
	return ok && st.Suspended != nil, c.post(ctx, "/sources/"+url.PathEscape(source)+"/resume", by, nil, nil)
}

// Approve lets through the plan that is held whose id begins so.
func (c *Client) Approve(ctx context.Context, planID string, by reconcile.Actor) (source string, n int64, err error) {
	var t ticket
	err = c.post(ctx, "/plan/"+url.PathEscape(planID)+"/apply", by, nil, &t)
	return t.Source, t.Ticket, err
}

// HeldPlan returns the plan whose id begins so that waits for an approval, without its
// secrets.
func (c *Client) HeldPlan(ctx context.Context, id string) (*plan.Plan, error) {
	raw, err := c.do(ctx, http.MethodGet, "/plans/"+url.PathEscape(id), nil, "", nil)
	if err != nil {
		return nil, err
	}
	var p plan.Plan
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("plan %s: %w", id, err)
	}
	return &p, nil
}

// Adopt lets a source take over a package that somebody else owns.
func (c *Client) Adopt(ctx context.Context, pkg, source string, by reconcile.Actor) (n int64, err error) {
	var t ticket
	err = c.post(ctx, "/packages/"+url.PathEscape(pkg)+"/adopt", by, adoption{Source: source}, &t)
	return t.Ticket, err
}

// PlanUndo plans to put a package back to what it was.
func (c *Client) PlanUndo(ctx context.Context, pkg string, to int64) (*plan.Plan, error) {
	body, err := json.Marshal(undoing{To: to, DryRun: true})
	if err != nil {
		return nil, err
	}
	raw, err := c.do(ctx, http.MethodPost, "/packages/"+url.PathEscape(pkg)+"/undo", nil, requestType, body)
	if err != nil {
		return nil, err
	}
	p, err := plan.Decode(raw)
	return p, c.understood(err)
}

// Undo carries out the plan of PlanUndo that has the id.
func (c *Client) Undo(ctx context.Context, pkg string, to int64, planID string, by reconcile.Actor) (*reconcile.Undone, error) {
	res := new(reconcile.Undone)
	return res, c.post(ctx, "/packages/"+url.PathEscape(pkg)+"/undo", by, undoing{To: to, PlanID: planID}, res)
}

// post sends JSON in somebody's name, and reads the answer into what is given for it.
func (c *Client) post(ctx context.Context, path string, by reconcile.Actor, body, answer any) error {
	var sent []byte
	if body != nil {
		var err error
		if sent, err = json.Marshal(body); err != nil {
			return err
		}
	}
	q := url.Values{}
	if by.Name != "" {
		q.Set("actor", by.Name)
	}
	raw, err := c.do(ctx, http.MethodPost, path, q, jsonType, sent)
	if err != nil || answer == nil {
		return err
	}
	return c.understood(json.Unmarshal(raw, answer))
}

// paths is where each kind is listed.
var paths = map[oprc.Kind]string{
	oprc.KindPackage: "/packages", oprc.KindClass: "/classes", oprc.KindFunction: "/functions",
	oprc.KindDeployment: "/deployments", oprc.KindUnit: "/units", oprc.KindRuntime: "/cr",
	oprc.KindEnv: "/environments", oprc.KindCRM: "/crms", oprc.KindSource: "/sources",
}

// List returns the objects of one kind, sorted by key. Secrets in them are masked.
func (c *Client) List(ctx context.Context, kind oprc.Kind) ([]reconcile.Object, error) {
	path, ok := paths[kind]
	if !ok {
		return nil, fmt.Errorf("%w kind %q", oprc.ErrInvalid, kind)
	}
	items, err := collect[wireObject](ctx, c, path, url.Values{"objects": {"true"}}, 0)
	if err != nil {
		return nil, err
	}
	out := make([]reconcile.Object, 0, len(items))
	for _, item := range items {
		o, err := item.object()
		if err != nil {
			return nil, c.understood(err)
		}
		out = append(out, o)
	}
	return out, nil
}

// Find returns one object, or an oprc.ErrNotFound.
func (c *Client) Find(ctx context.Context, kind oprc.Kind, key string) (reconcile.Object, error) {
	path, ok := paths[kind]
	if !ok {
		return reconcile.Object{}, fmt.Errorf("%w kind %q", oprc.ErrInvalid, kind)
	}
	if key == "" {
		return reconcile.Object{}, fmt.Errorf("%s %q: %w", kind, key, oprc.ErrNotFound)
	}
	segments := strings.Split(key, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	raw, err := c.do(ctx, http.MethodGet, path+"/"+strings.Join(segments, "/"), url.Values{"objects": {"true"}}, "", nil)
	if err != nil {
		return reconcile.Object{}, err
	}
	var item wireObject
	if err := json.Unmarshal(raw, &item); err != nil {
		return reconcile.Object{}, c.understood(err)
	}
	o, err := item.object()
	return o, c.understood(err)
}

// History returns the last writes of a package, newest first.
func (c *Client) History(ctx context.Context, pkg string, limit int) ([]oprc.HistoryEntry, error) {
	return collect[oprc.HistoryEntry](ctx, c, "/history/"+url.PathEscape(pkg), nil, limit)
}

// Events returns up to limit events after an id, oldest first; without an id the
// last ones.
func (c *Client) Events(ctx context.Context, after string, limit int) ([]oprc.Event, error) {
	if after != "" {
		return collect[oprc.Event](ctx, c, "/events", url.Values{"since": {after}}, limit)
	}
	newest, err := collect[oprc.Event](ctx, c, "/events", url.Values{"desc": {"true"}}, limit)
	return reversed(newest), err
}

// Snapshot is live state as the server shows it: its configuration says what is hidden.
// What hide masks beyond that is hidden too.
func (c *Client) Snapshot(ctx context.Context, hide plan.Redaction) (*plan.Snapshot, error) {
	raw, err := c.do(ctx, http.MethodGet, "/snapshot", url.Values{"mask": {strings.Join(hide.Mask, ",")}}, "", nil)
	if err != nil {
		return nil, err
	}
	s, err := plan.DecodeSnapshot(raw, nil)
	return s, c.understood(err)
}

// EnvironmentNames returns the names of the environments that the caller may see.
func (c *Client) EnvironmentNames(ctx context.Context) ([]string, error) {
	all, err := c.List(ctx, oprc.KindEnv)
	names := make([]string, len(all))
	for i, o := range all {
		names[i] = o.Key
	}
	return names, err
}

// Dead returns the newest dead letters of an environment, up to limit.
func (c *Client) Dead(ctx context.Context, env string, limit int) ([]oprc.DeadEntry, error) {
	return collect[oprc.DeadEntry](ctx, c, "/dead", url.Values{"env": {env}}, limit)
}

// RetryDead puts a dead letter back at the end of its stream.
func (c *Client) RetryDead(ctx context.Context, env, id string) error {
	return c.post(ctx, "/dead/"+url.PathEscape(env)+"/retry", reconcile.Actor{}, letters{IDs: []string{id}}, nil)
}

// DropDead deletes dead letters, and returns how many there were.
func (c *Client) DropDead(ctx context.Context, env string, ids ...string) (int64, error) {
	var done handled
	err := c.post(ctx, "/dead/"+url.PathEscape(env)+"/drop", reconcile.Actor{}, letters{IDs: ids}, &done)
	if errors.Is(err, oprc.ErrNotFound) {
		return 0, nil
	}
	return int64(done.Done), err
}

// collect reads a listing page by page, up to most items; 0 is all.
func collect[T any](ctx context.Context, c *Client, path string, q url.Values, most int) ([]T, error) {
	out := []T{}
	for {
		limit := maxLimit
		if most > 0 {
			limit = min(limit, most-len(out))
		}
		query := url.Values{"offset": {fmt.Sprint(len(out))}, "limit": {fmt.Sprint(limit)}}
		for name, values := range q {
			query[name] = values
		}
		raw, err := c.do(ctx, http.MethodGet, path, query, "", nil)
		if err != nil {
			return nil, err
		}
		var p struct {
			Total int `json:"total"`
			Items []T `json:"items"`
		}
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, c.understood(err)
		}
		out = append(out, p.Items...)
		if len(out) >= p.Total || len(p.Items) == 0 || most > 0 && len(out) >= most {
			return out, nil
		}
	}
}

// A wireObject is an object whose document is not read yet.
type wireObject struct {
	Kind oprc.Kind       `json:"kind"`
	Key  string          `json:"key"`
	Doc  json.RawMessage `json:"doc"`
}

func (w wireObject) object() (reconcile.Object, error) {
	docs := map[oprc.Kind]any{
		oprc.KindPackage: new(reconcile.PackageView), oprc.KindClass: new(reconcile.ClassView),
		oprc.KindFunction: new(reconcile.FunctionView), oprc.KindDeployment: new(reconcile.DeploymentView),
		oprc.KindUnit: new(reconcile.UnitView), oprc.KindRuntime: new(oprc.ClassRuntime),
		oprc.KindEnv: new(reconcile.EnvironmentView), oprc.KindCRM: new(reconcile.CRMView),
		oprc.KindSource: new(oprc.SourceStatus),
	}
	doc, ok := docs[w.Kind]
	if !ok {
		return reconcile.Object{}, fmt.Errorf("unknown kind %q", w.Kind)
	}
	return reconcile.Object{Kind: w.Kind, Key: w.Key, Doc: doc}, json.Unmarshal(w.Doc, doc)
}

// do sends a request and returns the body of a good answer.
func (c *Client) do(ctx context.Context, method, path string, q url.Values, contentType string, body []byte) ([]byte, error) {
	base, err := url.Parse(c.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("%w server URL %q: write http://HOST:PORT", oprc.ErrInvalid, c.shown())
	}
	target := strings.TrimSuffix(strings.TrimSuffix(c.URL, "/"), "/api") + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w request: %w", oprc.ErrInvalid, err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	res, err := h.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if res.StatusCode/100 != 2 {
		return nil, c.refusal(res, raw)
	}
	return raw, nil
}

// shown is the server's address without credentials.
func (c *Client) shown() string {
	u, err := url.Parse(c.URL)
	if err != nil || u.User == nil {
		return c.URL
	}
	u.User = nil
	return u.String()
}

func (c *Client) unreachable(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	var inner *url.Error // its text would repeat the address, credentials and all
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, c.shown(), err)
}

// understood says whose answer an error is about.
func (c *Client) understood(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("answer of %s: %w", c.shown(), err)
}

// refusedPlan is an error that came with the plan that it is about.
type refusedPlan struct {
	err  error
	plan []byte
}

func (e *refusedPlan) Error() string { return e.err.Error() }
func (e *refusedPlan) Unwrap() error { return e.err }

// refusal maps a problem back to the error that it was made from.
func (c *Client) refusal(res *http.Response, raw []byte) error {
	var p problem
	if strings.HasPrefix(res.Header.Get("Content-Type"), problemType) {
		_ = json.Unmarshal(raw, &p) // if it is none, the status has to do
	}
	err := c.errorOf(p, res)
	if p.Plan != nil {
		return &refusedPlan{err, p.Plan}
	}
	return err
}

func (c *Client) errorOf(p problem, res *http.Response) error {
	switch {
	case p.kind() == kindDenied:
		return said(oprc.ErrDenied, p.Detail)
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w: %s: %s", ErrDenied, c.shown(), p.Detail)
	case p.kind() == kindInvalid && len(p.Diagnostics) > 0:
		return &oprc.InvalidError{Diagnostics: p.Diagnostics}
	case p.kind() == kindInvalid:
		return said(oprc.ErrInvalid, p.Detail)
	case p.kind() == kindConflict:
		return &oprc.ConflictError{Reason: p.Detail, Objects: p.Objects}
	case p.kind() == kindHeld:
		return said(oprc.ErrHeld, p.Detail)
	case p.kind() == kindNotFound:
		return said(oprc.ErrNotFound, p.Detail)
	case res.StatusCode == http.StatusBadGateway || res.StatusCode == http.StatusServiceUnavailable || res.StatusCode == http.StatusGatewayTimeout:
		return fmt.Errorf("%w: %s: %s", ErrUnavailable, c.shown(), strings.TrimSpace(res.Status+" "+p.Detail))
	case p.kind() == "":
		return fmt.Errorf("%s answers %s: is it an oprc server?", c.shown(), res.Status)
	}
	return fmt.Errorf("%s answers %s: %s", c.shown(), res.Status, p.Detail)
}

// said is an error of a kind in the server's own words.
func said(kind error, detail string) error { return &remote{kind, detail} }

type remote struct {
	kind   error
	detail string
}

func (e *remote) Error() string { return e.detail }
func (e *remote) Unwrap() error { return e.kind }
