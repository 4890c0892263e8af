package plan

import (
	"encoding/json"
	"maps"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// past resolves live packages, and what they need, as they are recorded.
func (a *attempt) past(packages map[string]bool) *resolve.Catalogue {
	live := map[string]oprc.Package{}
	for name := range closure(packages, a.graph.reads, a.graph.near) {
		if rec, ok := a.Live.Packages[name]; ok {
			live[name] = rec.Spec
		}
	}
	catalogue, _ := resolve.Packages(nil, live)
	return catalogue
}

// recall fills in what the changed objects are now, as far as it can be derived
// from the records: a document is shown only if its digest is the recorded one.
func (a *attempt) recall(changes []Change) {
	owners := map[string]bool{}
	for _, c := range changes {
		if c.Actions[0] != Create {
			owners[c.Package] = true
		}
	}
	if len(owners) == 0 {
		return
	}
	m := a.memory(owners)
	for i := range changes {
		c := &changes[i]
		if c.Actions[0] == Create {
			continue
		}
		if before := oprc.MustCanonical(m.document(c)); oprc.DigestBytes(before) == c.Was {
			c.Before = before
		}
	}
}

// A memory answers what an object was.
type memory struct {
	live      Live
	catalogue *resolve.Catalogue
	settings  map[string]*oprc.Kubernetes
	units     map[string]map[string]oprc.DeploymentUnit
}

// memory answers about packages, and what they deploy.
func (a *attempt) memory(packages map[string]bool) *memory {
	return memoryOf(a.Live, a.past(packages))
}

func memoryOf(l Live, catalogue *resolve.Catalogue) *memory {
	return &memory{
		live: l, catalogue: catalogue, settings: podSettings(maps.Values(l.Environments)),
		units: map[string]map[string]oprc.DeploymentUnit{},
	}
}

func (m memory) document(c *Change) any {
	switch c.Kind {
	case oprc.KindEnv:
		return m.live.Environments[c.Key].Spec
	case oprc.KindPackage:
		return m.live.Packages[c.Key].Spec
	case oprc.KindFunction:
		return m.catalogue.Functions[c.Key]
	case oprc.KindClass:
		return m.catalogue.Classes[c.Key]
	case oprc.KindDeployment:
		return m.live.Deployments[c.Key]
	}
	return m.unit(c.Key)
}

func (m memory) unit(id string) oprc.DeploymentUnit {
	cls, _, _, _, _ := oprc.ParseUnitID(id)
	if m.units[cls] == nil {
		m.units[cls] = map[string]oprc.DeploymentUnit{}
		for _, u := range Units(m.live.Deployments[cls], m.catalogue.Classes[cls], m.catalogue.Functions, m.settings) {
			m.units[cls][u.ID] = u
		}
	}
	return m.units[cls][id]
}

// compare fills in the fields of changes whose two sides are known.
func (a *attempt) compare(changes []Change) {
	for i := range changes {
		c := &changes[i]
		if c.Before == nil || c.After == nil {
			continue
		}
		for _, e := range edits(c.Before, c.After) {
			at := a.locate(c, e)
			c.Fields = append(c.Fields, Field{Path: e.path, Before: e.before, After: e.after, File: at.File, Line: at.Line})
		}
		if a.Live.Packages[c.Key].Origin != a.Scope.Origin && c.Kind == oprc.KindPackage && c.Source != nil {
			c.Fields = append(c.Fields, a.ownerField(c.Key))
		}
	}
}

// ownerField shows that a package changes hands.
func (a *attempt) ownerField(pkg string) Field {
	return Field{
		Path:   "/origin",
		Before: json.RawMessage(oprc.MustCanonical(a.Live.Packages[pkg].Origin)),
		After:  json.RawMessage(oprc.MustCanonical(a.Scope.Origin)),
	}
}
