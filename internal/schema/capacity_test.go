package schema_test

import "testing"

// An environment with units: 0 takes nothing new, and one without units has no limit.
func TestNoUnitsAreNotNoLimit(t *testing.T) {
	for written, want := range map[string]*int{"{units: 0}": ptr(0), "{units: 3}": ptr(3), "{cpu: '8'}": nil} {
		docs, found := loadOne([]byte("kind: Environment\nname: a\ncapacity: "+written+"\n"), false)
		if len(found) > 0 || len(docs) != 1 || docs[0].Environment == nil || docs[0].Environment.Capacity == nil {
			t.Fatalf("%s: got %v, %v", written, docs, found)
		}
		got := docs[0].Environment.Capacity.Units
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%s: got %v, want %v", written, got, want)
		}
	}
}
