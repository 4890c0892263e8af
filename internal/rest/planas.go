package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// planAsSource plans files as the daemon will once they are the source's newest revision.
func (a *api) planAsSource(w http.ResponseWriter, r *http.Request) error {
	if err := contentType(r, jsonType); err != nil {
		return err
	}
	var next loop.Proposal
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, a.Bounds.BigBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&next); err != nil {
		return badJSON(err)
	}
	if err := a.reaches(r, reconcile.Request{Files: next.Files}); err != nil {
		return err
	}
	pre, err := a.Control.PlanAs(r.Context(), r.PathValue("key"), next)
	if err != nil {
		return err
	}
	if err := caller(r).permits(pre.Plan, false); err != nil {
		return err
	}
	seen, err := a.within(r, pre.Plan.Masked(a.Mask))
	if err != nil {
		return err
	}
	return a.reply(w, r, http.StatusOK, SourcePlan{
		Source: r.PathValue("key"), Plan: seen, Held: pre.Held, Left: list(slices.Sorted(maps.Keys(pre.Left))),
		Suspended: pre.Suspended, TakenAt: a.now().UTC(),
	})
}

// PlanAs plans files as the next revision of a source that the server's daemon follows.
func (c *Client) PlanAs(ctx context.Context, source string, next loop.Proposal) (loop.Preview, error) {
	body, err := json.Marshal(next)
	if err != nil {
		return loop.Preview{}, fmt.Errorf("encode request: %w", err)
	}
	raw, err := c.do(ctx, http.MethodPost, "/sources/"+url.PathEscape(source)+"/plan", nil, jsonType, body)
	if err != nil {
		return loop.Preview{}, err
	}
	out, err := c.preview(source, raw)
	out.Files = next.Files
	return out, err
}

// SourcePlan plans what the server's daemon would carry out for a source at its next poll;
// with a ref, for another branch as if it were merged. The plan is complete.
func (c *Client) SourcePlan(ctx context.Context, source, ref string) (loop.Preview, error) {
	q := url.Values{"complete": {"true"}}
	if ref != "" {
		q.Set("ref", ref)
	}
	raw, err := c.do(ctx, http.MethodGet, "/sources/"+url.PathEscape(source)+"/plan", q, "", nil)
	if err != nil {
		return loop.Preview{}, err
	}
	return c.preview(source, raw)
}

func (c *Client) preview(source string, raw []byte) (loop.Preview, error) {
	var got SourcePlan
	if err := json.Unmarshal(raw, &got); err != nil || got.Plan == nil {
		return loop.Preview{}, c.understood(fmt.Errorf("plan of source %s: %w", source, err))
	}
	out := loop.Preview{
		Revision: loop.Revision{ID: got.Revision, Author: got.Author}, Plan: got.Plan, Held: got.Held, Suspended: got.Suspended, NoTrack: got.Untracked,
		Left: map[string]bool{},
	}
	for _, name := range got.Left {
		out.Left[name] = true
	}
	return out, nil
}
