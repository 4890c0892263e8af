package kubernetes

import "slices"

// Covers reports whether everything that is asked for is so in what is there. Objects
// that are there have more: defaults, and what others have added.
func Covers(live, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			return len(want) == 0 && live == nil // the API leaves out what is empty
		}
		for key, v := range want {
			if !Covers(l[key], v) {
				return false
			}
		}
		return true
	case []any:
		l, ok := live.([]any)
		return ok && coversList(l, want)
	}
	return live == want || live == nil && want == "" // likewise
}

// coversList finds elements that have a name by it: admission may put others between.
func coversList(live, want []any) bool {
	for i, w := range want {
		name, named := nameIn(w)
		if !named {
			if len(live) != len(want) || !Covers(live[i], w) {
				return false
			}
			continue
		}
		at := slices.IndexFunc(live, func(l any) bool {
			n, ok := nameIn(l)
			return ok && n == name
		})
		if at < 0 || !Covers(live[at], w) {
			return false
		}
	}
	return true
}

func nameIn(v any) (any, bool) {
	o, ok := v.(map[string]any)
	if !ok {
		return nil, false
	}
	name, ok := o["name"]
	return name, ok
}
