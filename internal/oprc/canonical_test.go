package oprc

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The fast way and the general way are one: the test sees inside the package because
// nothing else may tell them apart.
func TestCanonicalIsWrittenTheSameEitherWay(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		eitherWay(t, rapid.SampledFrom([]string{"", "a", "a b~", "A<b>&c"}),
			rapid.SampledFrom([]float64{0, 0.1, 0.99, 1e-6, 123.456, 999999999999999}), rapid.IntRange(1-1<<53, 1<<53-1))
	})
	t.Run("any", func(t *testing.T) {
		eitherWay(t, rapid.OneOf(rapid.SampledFrom([]string{"", "a", "A<b>&c", "é", "\"", "\\", "a\nb", "\u2028", "~", "\x7f"}), rapid.String()),
			rapid.OneOf(rapid.SampledFrom([]float64{0, 0.1, 0.99, 1e-7, 1e21, 1e15, 123.456, 5e-324, 1e20}), rapid.Float64Range(0, 1e22)), rapid.Int())
	})
}

// eitherWay draws documents of these words and numbers. One odd value makes all of a
// document go the general way.
func eitherWay(t *testing.T, word *rapid.Generator[string], number *rapid.Generator[float64], count *rapid.Generator[int]) {
	t.Helper()
	words := rapid.MapOfN(word, word, 0, 3)
	envs := rapid.MapOfN(word, rapid.Custom(func(t *rapid.T) EnvValue {
		if rapid.Bool().Draw(t, "secret") {
			return EnvValue{Secret: SecretKeyRef{Name: word.Draw(t, "secret name"), Key: "k"}}
		}
		return EnvValue{Text: word.Draw(t, "text")}
	}), 0, 3)
	function := rapid.Custom(func(t *rapid.T) Function {
		n := count.Draw(t, "port")
		return Function{
			Name: word.Draw(t, "name"), Type: Task,
			Provision:    &Provision{Knative: &Knative{Image: word.Draw(t, "image"), Port: &n, Env: envs.Draw(t, "env")}},
			Requirements: &Requirements{Availability: number.Draw(t, "availability")},
			Config:       FunctionConfig{Timeout: count.Draw(t, "timeout"), Custom: words.Draw(t, "custom"), HTTP2: rapid.Bool().Draw(t, "http2")},
			Macro:        &Macro{Steps: []Step{{Function: word.Draw(t, "step"), BodyTemplate: map[string]any{"x": number.Draw(t, "any")}}}},
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		f := function.Draw(t, "function")
		if chance := rapid.Bool().Draw(t, "no macro"); chance {
			f.Macro = nil
		}
		unit := DeploymentUnit{
			ID: word.Draw(t, "id"), ShardID: count.Draw(t, "shard"), Standby: rapid.SliceOf(word).Draw(t, "standby"),
			Functions: []UnitFunction{{Key: f.Name, Image: f.Provision.Image(), Config: f.Config}},
			Provision: map[string]Provision{word.Draw(t, "key"): *f.Provision}, Requirements: f.Requirements,
			Constraints: &Constraints{MaxConcurrency: 3, Consistency: Strong},
			Bindings:    []UnitBinding{{Name: word.Draw(t, "binding"), Access: Public, DefaultArgs: words.Draw(t, "arguments")}},
			Macros:      map[string]Macro{"m": {Output: word.Draw(t, "output")}},
			Peers:       []UnitPeer{{Env: word.Draw(t, "peer"), Primary: true}},
			StateSpec:   &StateSpec{KeySpecs: []KeySpec{{Name: word.Draw(t, "key spec")}}},
		}
		if rapid.Bool().Draw(t, "no functions") {
			unit.Functions = nil
		}
		at := time.Unix(rapid.Int64Range(-1e11, 1e12).Draw(t, "seconds"), rapid.Int64Range(0, 1e9).Draw(t, "ns"))
		if rapid.Bool().Draw(t, "utc") {
			at = at.UTC()
		} else {
			at = at.In(time.FixedZone("", 3600))
		}
		for _, v := range []any{
			unit, &unit, f,
			UnitRecord{Unit: unit, Generation: 3, Op: Deploy, DispatchedAt: at},
			Command{Unit: unit, Type: Undeploy, Time: at},
			Status{Time: at},
			Heartbeat{Since: at},
			&Event{},
			Package{Name: "p", Functions: []Function{f}},
			Class{Resolved: &Resolved{}},
			Deployment{Key: "k", Assignments: []Assignment{{}}},
			Environment{Name: f.Name, Capacity: &Capacity{Units: new(3)}},
			map[string]FunctionStatus{f.Name: {ErrorMsg: f.Name}},
			[]string(nil),
			[]string{},
			(*Package)(nil),
		} {
			same(t, v)
		}
	})
}

func same(t interface{ Fatalf(string, ...any) }, v any) {
	got, err := Canonical(v)
	want, err2 := transform(v)
	if (err == nil) != (err2 == nil) || !bytes.Equal(got, want) {
		t.Fatalf("%T: got %s, %v; want %s, %v", v, got, err, want, err2)
	}
}

type (
	shout   string // writes itself
	whisper struct {
		A string `json:"a"`
	}
	inner struct {
		B int `json:"b"`
	}
)

func (s shout) MarshalText() ([]byte, error)  { return []byte(strings.ToUpper(string(s))), nil }
func (*whisper) MarshalJSON() ([]byte, error) { return []byte(`"psst"`), nil }

// Of what does not go by its kind alone, nothing is written by its kind.
func TestCanonicalKeepsToTheRulesOfJSON(t *testing.T) {
	type ring struct {
		Next *ring `json:"next"`
	}
	cycle := &ring{}
	cycle.Next = cycle
	deep := &ring{}
	for range 300 {
		deep = &ring{deep}
	}
	for _, v := range []any{
		nil, true, 7, int8(7), uint(7), 7.5, -7.5, 1 << 60, math.NaN(), math.Inf(1), "a", []byte("bytes"),
		[2]int{1, 2},
		json.RawMessage(`{"b":1,"a":2}`), json.Number("12.50"),
		[]any{json.Number("1"), nil, "x", map[string]any{"b": 1, "a": []int{}}},
		shout("a"),
		[]shout{"a"},
		map[shout]string{"b": "c"},
		map[string]shout{"b": "c"},
		map[int]string{2: "a", 10: "b"},
		whisper{"a"},
		&whisper{"a"},
		[]*whisper{{"a"}},
		[]whisper{{"a"}},
		struct {
			P *whisper `json:"p"`
			V whisper  `json:"v"`
		}{&whisper{}, whisper{}},
		struct{ Untagged int }{1},
		struct {
			inner
			A int `json:"a"`
		}{inner{2}, 1},
		struct {
			hidden int
			A      int `json:"a"`
		}{1, 2},
		struct {
			A int `json:"-"`
			B int `json:"b"`
		}{1, 2},
		struct {
			B int `json:"b,string"`
		}{2},
		[]byte{},
		struct {
			T time.Time `json:"t,omitzero"`
			U time.Time `json:"u"`
		}{T: time.Time{}.In(time.FixedZone("", 60))},
		time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		[]time.Time{time.Unix(0, 0).UTC()},
		deep, cycle,
	} {
		if v != nil { // as if a document had one of these
			known := layouts
			layouts = layoutsOf(v)
			same(t, v)
			layouts = known
		}
		same(t, v)
	}
}

// What documents are made of is written the fast way, up to the values that are written in
// some other way than they are read.
func TestWhatIsWrittenTheFastWay(t *testing.T) {
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	many := make([]Function, 2*tooDeep)
	for i, test := range []struct {
		v    any
		fast bool
	}{
		{" ~", true},
		{"\x1f", false},
		{"\x7f", false},
		{`"`, false},
		{`\`, false},
		{1<<53 - 1, true},
		{1 << 53, false},
		{1 - 1<<53, true},
		{-1 << 53, false},
		{0.0, true},
		{1e-6, true},
		{9e-7, false},
		{9e14, true},
		{1e15, false},
		{-0.5, false},
		{year(0), true},
		{year(-1), false},
		{year(9999), true},
		{year(10000), false},
		{year(2000).In(time.FixedZone("", 60)), false},
		{Package{Name: "p", Functions: many}, true},
		{json.Number("1"), false},
		{nil, false},
	} {
		known := layouts
		if test.v != nil {
			layouts = layoutsOf(Package{}, test.v)
		}
		var w writer
		if got := w.value(reflect.ValueOf(test.v)); got != test.fast {
			t.Errorf("%d: %v: got %t, want %t", i, test.v, got, test.fast)
		}
		if w.depth != 0 {
			t.Errorf("%d: a depth of %d remains", i, w.depth)
		}
		layouts = known
	}
}
