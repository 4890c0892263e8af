package reconcile

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A Blamed is a field of a live object with the write that gave it its value.
type Blamed struct {
	Path    string          `json:"path"` // in the object, as in plans
	Value   json.RawMessage `json:"value"`
	From    string          `json:"from,omitempty"` // "KIND KEY" that declares it, if that is another object
	Rev     int64           `json:"rev"`
	Time    time.Time       `json:"ts"`
	Author  string          `json:"author,omitempty"`
	Origin  string          `json:"origin"`
	Commit  string          `json:"commit,omitempty"`
	Message string          `json:"message,omitempty"`
	File    string          `json:"file,omitempty"` // as it was in that commit
	Line    int             `json:"line,omitempty"`
	// Beyond means that the history begins with this write, and the value may be older.
	Beyond bool `json:"beyond,omitempty"`
}

// Blame says for each field of a package below a path which write set its value, given the
// package's whole history, newest first. A value that was changed and changed back was set
// by the write that brought it back.
func Blame(history []oprc.HistoryEntry, below string) []Blamed {
	writes := oprc.Writes(history)
	if len(writes) == 0 || writes[0].Spec == nil {
		return nil
	}
	versions := make([]version, 0, len(writes))
	for _, w := range writes {
		if w.Spec == nil { // it was deleted: what was before that is another life
			break
		}
		versions = append(versions, versionOf(w))
	}
	oldest := writes[len(versions)-1]
	cut := len(versions) == len(writes) && oldest.Action != string(plan.Create)
	var out []Blamed
	for _, leaf := range plan.Leaves(writes[0].Spec) {
		if leaf.Path != below && !strings.HasPrefix(leaf.Path, below+"/") {
			continue
		}
		i := 0
		for i+1 < len(versions) && versions[i+1].values[leaf.Path] == string(leaf.Value) {
			i++
		}
		w := writes[i]
		b := Blamed{
			Path: strings.TrimPrefix(leaf.Path, below), Value: leaf.Value, Rev: w.Rev, Time: w.Time, Author: w.Actor, Origin: w.Origin,
			Commit: w.Commit, Message: w.Message, File: w.Path, Line: versions[i].lines[leaf.Path], Beyond: cut && i == len(versions)-1,
		}
		out = append(out, b)
	}
	return out
}

// A version is a spec with its values and their lines, by path.
type version struct {
	values map[string]string
	lines  map[string]int
}

func versionOf(w oprc.HistoryEntry) version {
	leaves := plan.Leaves(w.Spec)
	v := version{make(map[string]string, len(leaves)), map[string]int{}}
	for i, l := range leaves {
		v.values[l.Path] = string(l.Value)
		if len(w.Lines) == len(leaves) { // else secrets with members were masked on the way
			v.lines[l.Path] = w.Lines[i]
		}
	}
	return v
}
