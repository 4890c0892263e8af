package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// commandQueue is an oprc.CommandQueue on the wire.
type commandQueue struct {
	Waiting map[string]int64       `json:"waiting"` // by unit: the highest generation that no CRM has read
	Held    map[string]heldCommand `json:"held"`    // by unit: what a CRM has read and not acknowledged
	Groups  []string               `json:"groups"`  // that read the commands besides the CRMs' own
	Partial bool                   `json:"partial"` // there are more than were looked at
}

type heldCommand struct {
	Generation  int64   `json:"generation"`
	CRM         string  `json:"crm"`
	IdleSeconds float64 `json:"idleSeconds"` // since the CRM touched it
}

func (a *api) commandQueue(w http.ResponseWriter, r *http.Request) error {
	env := r.PathValue("key")
	if _, err := a.deadEnvs(r, env); err != nil { // whoever is limited to packages sees no queue
		return err
	}
	q, err := a.Control.CommandQueue(r.Context(), env)
	if err != nil {
		return err
	}
	out := commandQueue{Waiting: map[string]int64{}, Held: map[string]heldCommand{}, Groups: append([]string{}, q.Groups...), Partial: q.Partial}
	for id, generation := range q.Waiting {
		out.Waiting[id] = generation
	}
	for id, h := range q.Held {
		out.Held[id] = heldCommand{h.Generation, h.CRM, h.Idle.Seconds()}
	}
	return a.reply(w, r, http.StatusOK, out)
}

// CommandQueue tells how far the commands of an environment have come.
func (c *Client) CommandQueue(ctx context.Context, env string) (oprc.CommandQueue, error) {
	raw, err := c.do(ctx, http.MethodGet, "/environments/"+url.PathEscape(env)+"/queue", nil, "", nil)
	if err != nil {
		return oprc.CommandQueue{}, err
	}
	var in commandQueue
	if err := json.Unmarshal(raw, &in); err != nil {
		return oprc.CommandQueue{}, c.understood(err)
	}
	q := oprc.CommandQueue{Waiting: in.Waiting, Held: map[string]oprc.HeldCommand{}, Groups: in.Groups, Partial: in.Partial}
	for id, h := range in.Held {
		q.Held[id] = oprc.HeldCommand{Generation: h.Generation, CRM: h.CRM, Idle: time.Duration(h.IdleSeconds * float64(time.Second))}
	}
	return q, nil
}
