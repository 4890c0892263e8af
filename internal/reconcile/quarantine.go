package reconcile

import (
	"maps"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// keepQuarantined replaces each quarantined document by its recorded spec: the
// package stays as somebody put it back. It returns the packages whose
// document is another one than the quarantined, which ends the quarantine.
func keepQuarantined(docs []oprc.Document, quarantine map[string]oprc.SourceRequest, live plan.Live) (out []oprc.Document, over []string) {
	if len(quarantine) == 0 || len(docs) == 0 {
		return docs, nil
	}
	out, named := slices.Clone(docs), map[string]bool{}
	for i, d := range out {
		if d.Package == nil {
			continue
		}
		named[d.Name()] = true
		q, ok := quarantine[d.Name()]
		rec, recorded := live.Packages[d.Name()]
		switch {
		case !ok:
		case oprc.Digest(*d.Package) != q.Digest:
			over = append(over, d.Name())
		case recorded:
			out[i].Package = &rec.Spec
		}
	}
	// A quarantined deletion: the package stays although no document names it.
	for _, name := range slices.Sorted(maps.Keys(quarantine)) {
		if rec, recorded := live.Packages[name]; recorded && !named[name] && quarantine[name].Digest == "" {
			d := oprc.Document{Package: &rec.Spec}
			if rec.Source != nil {
				d.Path = rec.Source.Path
			}
			out = append(out, d)
		}
	}
	return out, over
}

// keepContested replaces each contested document by its recorded spec, or drops it
// if there is none.
func keepContested(docs []oprc.Document, contested map[string]bool, live plan.Live) []oprc.Document {
	if len(contested) == 0 {
		return docs
	}
	var out []oprc.Document
	for _, d := range docs {
		if d.Package != nil && contested[d.Name()] {
			rec, recorded := live.Packages[d.Name()]
			if !recorded {
				continue
			}
			d.Package = &rec.Spec
		}
		out = append(out, d)
	}
	return out
}

// A Withheld is what a plan found out about quarantines.
type Withheld struct {
	Asked map[string]oprc.SourceRequest
	Over  []string // packages whose documents are not the quarantined ones any more
	Live  plan.Live
}
