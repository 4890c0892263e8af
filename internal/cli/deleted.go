package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// deleted is the error about an object that is not there any more: who deleted it, and
// when. It is nil for what never was, as far as histories go back.
func (s *state) deleted(ctx context.Context, kind oprc.Kind, name string) error {
	if cls, _, _, _, ok := oprc.ParseUnitID(name); ok {
		kind, name = oprc.KindDeployment, cls
	}
	if kind == "" || kind == oprc.KindPackage {
		if err := s.deletedPackage(ctx, name); err != nil || kind != "" {
			return err
		}
	}
	if kind == oprc.KindEnv {
		return s.deletedEnvironment(ctx, name)
	}
	for i := range len(name) { // every package that the key can be of
		if name[i] != '.' {
			continue
		}
		if err := s.deletedFrom(ctx, name[:i], kind, name); err != nil {
			return err
		}
	}
	return nil
}

func (s *state) deletedPackage(ctx context.Context, name string) error {
	writes, err := s.writes(ctx, name)
	if err != nil || len(writes) == 0 || writes[0].Action != "delete" {
		return nil
	}
	return gone("package "+name, writes[0], fmt.Sprintf("oprc history %s shows what it was; oprc undo %s brings it back.", quote(name), quote(name)))
}

// deletedFrom looks for the revision of a package that took an object away.
func (s *state) deletedFrom(ctx context.Context, pkg string, kind oprc.Kind, key string) error {
	writes, err := s.writes(ctx, pkg)
	if err != nil {
		return nil
	}
	for i, w := range writes {
		if holds(w.Spec, kind, key) {
			if i == 0 {
				return nil
			}
			by := writes[i-1]
			what := strings.TrimPrefix(string(kind)+" "+key, " ")
			return gone(what, by, fmt.Sprintf("oprc diff %s --from %d --to %d shows the change.", quote(pkg), w.Rev, by.Rev))
		}
	}
	return nil
}

// holds reports whether a package declares the object; without a kind, a deployment.
func holds(p *oprc.Package, kind oprc.Kind, key string) bool {
	if p == nil {
		return false
	}
	switch kind {
	case oprc.KindClass:
		for _, c := range p.Classes {
			if oprc.Key(p.Name, c.Name) == key {
				return true
			}
		}
	case oprc.KindFunction:
		for _, f := range p.Functions {
			if oprc.Key(p.Name, f.Name) == key {
				return true
			}
		}
	case oprc.KindDeployment, "":
		for _, d := range p.Deployments {
			if resolve.DeploymentKey(*p, d.Key) == key {
				return true
			}
		}
	}
	return false
}

func (s *state) deletedEnvironment(ctx context.Context, name string) error {
	events, err := s.Events(ctx, "", 1000)
	if err != nil {
		return nil
	}
	for i := len(events) - 1; i >= 0; i-- {
		if e := events[i]; e.Kind == oprc.KindEnv && e.Key == name && e.Type == "deleted" {
			return gone("environment "+name, oprc.HistoryEntry{Time: e.Time, Actor: e.Actor, Commit: e.Commit}, "oprc get environments lists what there is.")
		}
	}
	return nil
}

func gone(what string, by oprc.HistoryEntry, next string) error {
	text := fmt.Sprintf("%s was deleted at %s by %s", what, by.Time.UTC().Format(time.RFC3339), cmp.Or(by.Actor, by.Origin, "somebody"))
	if by.Commit != "" {
		text += ", commit " + by.Commit[:min(12, len(by.Commit))]
	}
	if by.Rev > 0 && by.Action != "delete" {
		text += fmt.Sprintf(", in revision %d of its package", by.Rev)
	}
	return stepError{fmt.Errorf("%s: %w", text, oprc.ErrNotFound), next}
}
