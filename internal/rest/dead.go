package rest

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// letters names dead letters of one environment.
type letters struct {
	IDs []string `json:"ids,omitempty"`
	All bool     `json:"all,omitempty"`
}

// handled says of how many things something was done.
type handled struct {
	Done int `json:"done"`
	Left int `json:"left,omitempty"` // dead letters that were stored truncated, and cannot be retried
}

const deadOfOne = 10_000 // an environment keeps about so many

func (a *api) listDead(w http.ResponseWriter, r *http.Request) error {
	win, err := newWindow(r.URL.Query(), []string{"ts"})
	if err != nil {
		return err
	}
	envs, err := a.deadEnvs(r, r.URL.Query().Get("env"))
	if err != nil {
		return err
	}
	var all []oprc.DeadEntry
	for _, env := range envs {
		entries, err := a.Control.Dead(r.Context(), env, deadOfOne)
		if err != nil {
			return err
		}
		all = append(all, entries...)
	}
	slices.SortStableFunc(all, func(x, y oprc.DeadEntry) int { return y.Time.Compare(x.Time) })
	return a.reply(w, r, http.StatusOK, paged(win, all))
}

// deadEnvs returns the environments that the caller sees, or the named one.
func (a *api) deadEnvs(r *http.Request, name string) ([]string, error) {
	all, err := a.Control.EnvironmentNames(r.Context())
	if err != nil {
		return nil, err
	}
	who := caller(r)
	all = slices.DeleteFunc(all, func(env string) bool { return !matches(who.Environments, env) || len(who.Packages) > 0 })
	if name == "" {
		return all, nil
	}
	if !slices.Contains(all, name) {
		return nil, fmt.Errorf("environment %q: %w", clip(name), oprc.ErrNotFound)
	}
	return []string{name}, nil
}

// picked returns the ids that the body names, or all; with whole set, without those of
// which a part is missing, and how many those are.
func (a *api) picked(w http.ResponseWriter, r *http.Request, whole bool) (ids []string, left int, err error) {
	var body letters
	if err := readOptions(w, r, &body); err != nil {
		return nil, 0, err
	}
	if body.All == (len(body.IDs) > 0) {
		return nil, 0, refuse(http.StatusBadRequest, "name the ids of dead letters, or say all")
	}
	if _, err := a.deadEnvs(r, r.PathValue("env")); err != nil || !body.All {
		return body.IDs, 0, err
	}
	entries, err := a.Control.Dead(r.Context(), r.PathValue("env"), deadOfOne)
	slices.Reverse(entries) // in the order in which they came
	for _, e := range entries {
		if whole && e.Truncated {
			left++
			continue
		}
		ids = append(ids, e.ID)
	}
	return ids, left, err
}

func (a *api) retryDead(w http.ResponseWriter, r *http.Request) error {
	ids, left, err := a.picked(w, r, true)
	if err != nil {
		return err
	}
	for i, id := range ids {
		if err := a.Control.RetryDead(r.Context(), r.PathValue("env"), id); err != nil {
			return errors.Join(err, fmt.Errorf("%d of %d were put back before", i, len(ids)))
		}
	}
	return a.reply(w, r, http.StatusOK, handled{len(ids), left})
}

func (a *api) dropDead(w http.ResponseWriter, r *http.Request) error {
	ids, _, err := a.picked(w, r, false)
	if err != nil {
		return err
	}
	done := 0
	for part := range slices.Chunk(ids, 1000) {
		n, err := a.Control.DropDead(r.Context(), r.PathValue("env"), part...)
		if err != nil {
			return err
		}
		done += int(n)
	}
	if done == 0 && len(ids) > 0 {
		return fmt.Errorf("dead letters of %s: %w", r.PathValue("env"), oprc.ErrNotFound)
	}
	return a.reply(w, r, http.StatusOK, handled{Done: done})
}
