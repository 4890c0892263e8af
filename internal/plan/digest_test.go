package plan

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// The fast digest is the digest: it sees inside the package because nothing else
// may use it.
func TestDigesterAgrees(t *testing.T) {
	word := rapid.OneOf(rapid.SampledFrom([]string{"", "a", "A<b>&c", "é", "\"", "\\", "a\nb", "\u2028", "~", "\x7f"}), rapid.String())
	number := rapid.OneOf(rapid.SampledFrom([]float64{0, 0.1, 0.99, 1e-7, 1e21, 1e15, 123.456, 5e-324, 1e20}), rapid.Float64Range(0, 1e22))
	words := rapid.MapOfN(word, word, 0, 3)
	function := rapid.Custom(func(t *rapid.T) oprc.Function {
		n := rapid.Int().Draw(t, "port")
		return oprc.Function{
			Name: word.Draw(t, "name"), Type: oprc.Task,
			Provision:    &oprc.Provision{Knative: &oprc.Knative{Image: word.Draw(t, "image"), Port: &n, Env: words.Draw(t, "env")}},
			Requirements: &oprc.Requirements{Availability: number.Draw(t, "availability")},
			Config:       oprc.FunctionConfig{Timeout: rapid.Int().Draw(t, "timeout"), Custom: words.Draw(t, "custom"), HTTP2: rapid.Bool().Draw(t, "http2")},
			Macro:        &oprc.Macro{Steps: []oprc.Step{{Function: word.Draw(t, "step"), BodyTemplate: map[string]any{"x": number.Draw(t, "any")}}}},
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		f := function.Draw(t, "function")
		if chance := rapid.Bool().Draw(t, "no macro"); chance {
			f.Macro = nil
		}
		unit := oprc.DeploymentUnit{
			ID: word.Draw(t, "id"), ShardID: rapid.Int().Draw(t, "shard"), Standby: rapid.SliceOf(word).Draw(t, "standby"),
			Functions: []oprc.UnitFunction{{Key: f.Name, Image: f.Provision.Image(), Config: f.Config}},
			Provision: map[string]oprc.Provision{word.Draw(t, "key"): *f.Provision}, Requirements: f.Requirements,
			Constraints: &oprc.Constraints{MaxConcurrency: 3, Consistency: oprc.Strong},
		}
		if rapid.Bool().Draw(t, "no functions") {
			unit.Functions = nil
		}
		var d digester
		for _, v := range []any{
			unit, f,
			oprc.Package{Name: "p", Functions: []oprc.Function{f}},
			oprc.Class{Resolved: &oprc.Resolved{}},
			oprc.Deployment{Key: "k", Assignments: []oprc.Assignment{{}}},
			oprc.Environment{Name: f.Name, Capacity: &oprc.Capacity{Units: 3}},
		} {
			if got, want := d.digest(v), oprc.Digest(v); got != want {
				t.Fatalf("digest of %s: got %s, want %s", oprc.MustCanonical(v), got, want)
			}
		}
	})
}
