package reconcile

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// free adds to what a request may take over what sources own that nobody follows any
// more. It asks who is followed only where that matters.
func (r *Reconciler) free(ctx context.Context, req Request, docs []oprc.Document, live plan.Live) (map[string]bool, error) {
	owners := map[string]string{} // objects that sources own -> source
	note := func(object, origin string) {
		if source, is := strings.CutPrefix(origin, originGit); is && origin != req.Scope.Origin {
			owners[object] = source
		}
	}
	for _, d := range docs {
		if d.Environment != nil {
			note("environment/"+d.Name(), live.Environments[d.Name()].Origin)
		} else {
			note("package/"+d.Name(), live.Packages[d.Name()].Origin)
		}
	}
	for _, name := range req.Scope.Delete {
		if env, is := strings.CutPrefix(name, "environment/"); is {
			note(name, live.Environments[env].Origin)
		} else {
			note("package/"+name, live.Packages[name].Origin)
		}
	}
	if len(owners) == 0 || r.Followed == nil || req.Scope.TakeOwnership {
		return req.Free, nil
	}
	followed, err := r.Followed(ctx)
	if err != nil {
		return nil, fmt.Errorf("read sources: %w", err)
	}
	free := maps.Clone(req.Free)
	for object, source := range owners {
		if followed[source] {
			continue
		}
		if free == nil {
			free = map[string]bool{}
		}
		free[object] = true
	}
	return free, nil
}

// originGit begins the origin of what a source owns.
const originGit = "git:"
