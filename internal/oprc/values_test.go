package oprc

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestNearest(t *testing.T) {
	long := strings.Repeat("x", MaxNameLen)
	for _, test := range []struct {
		name  string
		known []string
		want  string
	}{
		{"resise", []string{"rebuild", "resize"}, "resize"},
		{"rezise", []string{"resize"}, "resize"},         // two letters swapped
		{"Resize", []string{"resize", "size"}, "resize"}, // case is no difference
		{"RESZIE", []string{"Resize"}, "Resize"},         // swapped, and of another case: two differences
		{"zone", []string{"ZOne"}, "ZOne"},
		{"a@z[", []string{"A`Z{"}, ""}, // neighbours of letters are none
		{"cart", []string{"carts", "card"}, "carts"},
		{"cart", []string{"card", "carts"}, "card"}, // the first of equals
		{"ct", []string{"cart"}, ""},                // half of it is another
		{"ab", []string{"ac"}, "ac"},
		{"ab", []string{"cd"}, ""},
		{"a", []string{"b"}, ""},
		{"", []string{"a"}, ""},
		{"cart", []string{"cart"}, ""}, // the name itself is no suggestion
		{"cartridges", []string{"cartridge", "car"}, "cartridge"},
		{"car", []string{"cartridge"}, ""},
		{long[1:] + "y", []string{long}, long},
		{long + "y", []string{long}, ""},
		{long, []string{long + "y"}, ""},
	} {
		if got := Nearest(test.name, test.known); got != test.want {
			t.Errorf("%.20s of %.20q: got %q, want %q", test.name, test.known, got, test.want)
		}
	}
}

// distance is the optimal string alignment distance by its definition.
func distance(a, b string) int {
	switch {
	case a == "" || b == "":
		return len(a) + len(b)
	case strings.EqualFold(a[:1], b[:1]):
		return distance(a[1:], b[1:])
	}
	d := 1 + min(distance(a[1:], b[1:]), distance(a[1:], b), distance(a, b[1:]))
	if len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] {
		d = min(d, 1+distance(a[2:], b[2:]))
	}
	return d
}

func TestEditDistanceByDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[abcABzZ]{0,6}`)
		a, b, limit := word.Draw(t, "a"), word.Draw(t, "b"), rapid.IntRange(1, 7).Draw(t, "limit")
		if got, want := editDistance(a, b, limit), min(distance(a, b), limit); got != want {
			t.Fatalf("%q to %q, at most %d: got %d, want %d", a, b, limit, got, want)
		}
	})
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "a.b-c_D9": true, "": false, "a.": false, ".a": false, "a b": false, "é": false,
		strings.Repeat("x", MaxNameLen): true, strings.Repeat("x", MaxNameLen+1): false,
	} {
		if got := ValidName(name); got != want {
			t.Errorf("%q: got %t", name, got)
		}
	}
	for cls, want := range map[string]bool{"": true, "none": true, "VOID": true, ".none": false, "shop.cart": false} {
		if got := NoOutput(cls); got != want {
			t.Errorf("no output %q: got %t", cls, got)
		}
	}
	if got := []string{Abs("p", ".c"), Abs("p", "c"), Key("p", "c")}; !slices.Equal(got, []string{"p.c", "c", "p.c"}) {
		t.Errorf("got %q", got)
	}
}

func TestUnitIDs(t *testing.T) {
	for id, want := range map[string]bool{
		"shop.cart/0/12@edge": true,
		"shop.cart/0/12@":     false, "shop.cart/0/12": false, "@edge": false, "/0/12@edge": false, "shop.cart/0@edge": false,
		"shop.cart/0/1/2@edge": false, "shop.cart/x/12@edge": false, "shop.cart/0/12x@edge": false, "shop.cart/00/12@edge": false, "": false,
	} {
		cls, partition, replica, env, ok := ParseUnitID(id)
		if ok != want {
			t.Errorf("%q: got %t", id, ok)
		}
		if ok && UnitID(cls, partition, replica, env) != id || !ok && cls+env != "" {
			t.Errorf("%q: got %q %d %d %q", id, cls, partition, replica, env)
		}
	}
	if (UnitDigest{Generation: 3}).Runs() || !(UnitDigest{SpecHash: "x"}).Runs() {
		t.Error("a unit runs where it has a spec")
	}
}

func TestStreamIDs(t *testing.T) {
	ordered := []string{"nonsense", "0-1", "9-9", "9-10", "10-0", "1700000000000"}
	for i, id := range ordered {
		for j, other := range ordered {
			want := 0
			if i != j {
				want = map[bool]int{true: -1, false: 1}[i < j]
			}
			if got := ParseStreamID(id).Compare(ParseStreamID(other)); got != want {
				t.Errorf("%s and %s: got %d, want %d", id, other, got, want)
			}
		}
	}
	if got := ParseStreamID("0-5").Time(); !got.IsZero() {
		t.Errorf("no time: got %s", got)
	}
	if got, want := ParseStreamID("1700000000123-5").Time(), time.UnixMilli(1700000000123).UTC(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPackageFiles(t *testing.T) {
	for name, want := range map[string]bool{
		"shop.yaml": true, "a/b/shop.YML": true, "../shop.json": true, "./shop.json": true,
		"shop.txt": false, "yaml": false, ".shop.yaml": false, ".git/shop.yaml": false, "a/.b/shop.yaml": false,
		"oprc.yaml": false, "a/OPRC.yml": false, "oprc.json": true,
	} {
		if got := IsPackageFile(name); got != want {
			t.Errorf("%s: got %t", name, got)
		}
	}
	for name, want := range map[string]bool{"": false, ".": false, "..": false, ".a": true, "...": true, "a.": false} {
		if got := Hidden(name); got != want {
			t.Errorf("hidden %q: got %t", name, got)
		}
	}
}

func TestContentOfAFile(t *testing.T) {
	read := func() ([]byte, error) { return []byte("read"), nil }
	for want, f := range map[string]File{"": {}, "data": {Data: []byte("data"), Read: read}, "read": {Read: read}} {
		if got, err := f.Content(); string(got) != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

func TestDiagnosticsAsText(t *testing.T) {
	d := Diagnostic{Code: CodeName, Severity: SeverityError, Position: Position{"a.yaml", 3, 7}, Message: "no name", Hint: "give it one"}
	bare, inLine := d, d
	bare.Position, bare.Hint = Position{}, ""
	inLine.Column = 0
	file := d
	file.Line = 0
	for want, d := range map[string]Diagnostic{
		"a.yaml:3:7: E001: no name (give it one)": d,
		"a.yaml:3: E001: no name (give it one)":   inLine,
		"a.yaml: E001: no name (give it one)":     file,
		"E001: no name":                           bare,
	} {
		if got := d.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	warning := d
	warning.Severity = SeverityWarning
	for want, ds := range map[string]Diagnostics{
		"": {warning}, d.String(): {warning, d}, d.String() + " (and 2 more errors)": {d, inLine, warning, bare},
	} {
		switch err := ds.Err(); {
		case want == "":
			if err != nil {
				t.Errorf("got %v for warnings", err)
			}
		case err == nil || err.Error() != want || !errors.Is(err, ErrInvalid):
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if got := (&InvalidError{}).Error(); got != "invalid" {
		t.Errorf("got %q", got)
	}
	all := Diagnostics{d, warning, bare}
	if got := all.Except(SeverityError); !cmp.Equal(got, Diagnostics{warning}) {
		t.Errorf("except errors: %v", got)
	}
	if got := all.Errors(); !cmp.Equal(got, Diagnostics{d, bare}) {
		t.Errorf("errors: %v", got)
	}
	if got := Locator(nil).At("/name"); got != (Position{}) {
		t.Errorf("got %v", got)
	}
	if got := Locator(func(p string) Position { return Position{File: p} }).At("/name"); got.File != "/name" {
		t.Errorf("got %v", got)
	}
}

func TestConflictsAsText(t *testing.T) {
	for want, e := range map[string]*ConflictError{
		"conflict: moved":       {Reason: "moved"},
		"conflict: moved: a; b": {Reason: "moved", Objects: []string{"a", "b"}},
	} {
		if got := e.Error(); got != want || !errors.Is(e, ErrConflict) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Everything that a decision reads of an environment makes another observation.
func TestObservations(t *testing.T) {
	seen := []Observation{
		{Health: Healthy},
		{Health: EnvDown},
		{Health: Healthy, Availability: .9},
		{Health: Healthy, Recovering: true},
		{Health: Healthy, Units: new(0)},
		{Health: Healthy, Units: new(3)},
	}
	said := []string{"HEALTHY", "DOWN", "HEALTHY, availability 0.9", "HEALTHY, recovering", "HEALTHY, at most 0 units", "HEALTHY, at most 3 units"}
	for i, o := range seen {
		if got := o.String(); got != said[i] {
			t.Errorf("got %q, want %q", got, said[i])
		}
		for j, other := range seen {
			if other.Units != nil {
				other.Units = new(*other.Units)
			}
			if got := o.Equal(other); got != (i == j) {
				t.Errorf("%s equals %s: got %t", o, other, got)
			}
		}
	}
	s := EnvironmentState{Availability: .9, Beats: []Heartbeat{{CRM: "a"}}}
	if o := s.Observed(); o.Availability != 0 {
		t.Errorf("declared, not reported: observed %s", o)
	}
	s.Beats = append(s.Beats, Heartbeat{CRM: "b", Availability: .8})
	if o := s.Observed(); o.Availability != .9 {
		t.Errorf("reported by one: observed %s", o)
	}
}

// Times at which things happened leave placements as they are; what is seen does not.
func TestStandingIsAllThatPlacementSees(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := EnvironmentState{Health: Healthy, Beats: []Heartbeat{{CRM: "a", Time: now, Since: now}}}
	later := s
	later.AppliedAt, later.AppliedBy, later.Source = now, "somebody", &SourceRef{Name: "main"}
	later.Beats = []Heartbeat{{CRM: "a", Time: now.Add(time.Second), Returned: true}}
	if s.Standing() != later.Standing() {
		t.Error("it differs though only times do")
	}
	for name, change := range map[string]func(*EnvironmentState){
		"health": func(s *EnvironmentState) { s.Health = EnvDown }, "units": func(s *EnvironmentState) { s.Units++ },
		"availability": func(s *EnvironmentState) { s.Availability = .5 }, "a CRM": func(s *EnvironmentState) { s.Beats = nil },
	} {
		other := s
		if change(&other); s.Standing() == other.Standing() {
			t.Errorf("%s: it is the same", name)
		}
	}
}

func TestHealthOfSeveral(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	alive, silent := Heartbeat{CRM: "a", Time: now}, Heartbeat{CRM: "b", Time: now.Add(-time.Hour)}
	for want, beats := range map[Health][]Heartbeat{
		HealthUnknown: nil, Healthy: {alive, alive}, Degraded: {alive, silent}, EnvDown: {silent, silent},
	} {
		if got := HealthOf(beats, now); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// An environment that was DOWN is steady once one CRM was heard for long enough; until then
// the first to get there counts.
func TestRecoveringUntilTheFirstIsSteady(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	back := func(ago time.Duration) Heartbeat { return Heartbeat{Time: now, Since: now.Add(-ago), Returned: true} }
	stayed := back(time.Second)
	stayed.Returned = false
	for name, test := range map[string]struct {
		beats []Heartbeat
		want  time.Duration // from now; 0: steady
	}{
		"one":                    {[]Heartbeat{back(time.Second)}, SteadyAfter - time.Second},
		"the first of two":       {[]Heartbeat{back(time.Second), back(3 * time.Second), back(2 * time.Second)}, SteadyAfter - 3*time.Second},
		"just steady":            {[]Heartbeat{back(time.Second), back(SteadyAfter)}, 0},
		"it was never all DOWN":  {[]Heartbeat{stayed}, 0},
		"one that stayed counts": {[]Heartbeat{stayed, back(time.Second)}, SteadyAfter - time.Second},
	} {
		want := now.Add(test.want)
		if test.want == 0 {
			want = time.Time{}
		}
		if got := RecoveringUntil(test.beats, now); !got.Equal(want) {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestHeardSinceTheFirst(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(since time.Duration) Heartbeat { return Heartbeat{Time: now, Since: now.Add(-since)} }
	if got, want := HeardSince([]Heartbeat{at(time.Second), at(3 * time.Second), at(2 * time.Second)}, now), now.Add(-3*time.Second); !got.Equal(want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := HeardSince([]Heartbeat{{Time: now}}, now); !got.Equal(now) {
		t.Errorf("without a start it is heard since it was: got %s", got)
	}
}

func TestRequestsForSources(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := Requests{Asked: []SourceRequest{
		{Verb: VerbApprove, Name: "main", PlanID: "p"},
		{Verb: VerbSuspend, Name: "other", Reason: "holidays"},
		{Verb: VerbSuspend, Name: "main", By: "ann", Until: now},
	}}
	if a, ok := r.Find(VerbSuspend, "main"); !ok || a.By != "ann" {
		t.Errorf("got %+v, %t", a, ok)
	}
	if a, ok := r.Find(VerbQuarantine, "main"); ok {
		t.Errorf("nobody asked for that: got %+v", a)
	}
	for _, test := range []struct {
		source string
		at     time.Time
		want   bool
	}{{"main", now.Add(-1), true}, {"main", now, false}, {"other", now.Add(time.Hour), true}, {"third", now, false}} {
		if got := r.Suspension(test.source, test.at); (got != nil) != test.want {
			t.Errorf("%s at %s: got %+v", test.source, test.at, got)
		}
	}
}

func TestWritesAmongTheHistory(t *testing.T) {
	h := []HistoryEntry{{Action: "create"}, {Action: ActionMove}, {Action: ActionRefuse}, {Action: "delete"}}
	if got, want := Writes(h), []HistoryEntry{h[0], h[3]}; !cmp.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLimitsOfMembers(t *testing.T) {
	if got := (Member{}).Limit(); got != -1 {
		t.Errorf("none is set: got %d, want -1", got)
	}
	if got := (Member{MaxShards: new(0)}).Limit(); got != 0 {
		t.Errorf("got %d, want 0", got)
	}
}

func TestImageOfAProvision(t *testing.T) {
	for want, p := range map[string]*Provision{
		"":  nil,
		"k": {Knative: &Knative{Image: "k"}}, "d": {Docker: &Docker{Image: "d"}}, "w": {Deployment: &KubeWorkload{Image: "w"}},
	} {
		if got := p.Image(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := (&Provision{}).Image(); got != "" {
		t.Errorf("no engine: got %q", got)
	}
}
