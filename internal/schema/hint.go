package schema

import (
	"fmt"
	"slices"
	"strings"
)

// rejected tells what to write instead of fields that older platforms had and
// this one has not, by definition and field.
var rejected = map[string]string{
	"Macro.export":            "remove it: the result of a macro is the step that `output` names",
	"Macro.funcName":          "remove it: a step names its binding in `function`",
	"Macro.atomic":            "remove it: steps of a macro are not atomic",
	"DataflowStep.export":     "remove it: the result of a macro is the step that `output` names",
	"DataflowStep.atomic":     "remove it: steps of a macro are not atomic",
	"StateSpecification.keys": "use `keySpecs`",
	"ProvisionConfig.job":     "use `knative`, `docker` or `deployment`",
	"Function.validation":     "remove it: the caller checks its arguments, or the function does",
	"Function.task":           "use `provision` for the container and `config` for its settings",
	"Function.functions":      "functions are bound to a class under `classes[].functions`",
	"Package.kind":            "a package has no kind; `kind: Environment` declares an environment",
	"Class.state":             "a class has `markForRemoval` and `disabled`; `state` belongs to a function",
	"Function.image":          "put it under `provision.knative`, `provision.docker` or `provision.deployment`",
}

// elsewhere are the words of other platforms for fields of this one, by definition
// and word.
var elsewhere = map[string]string{
	"Package.package":              "name",
	"Package.dependencies":         "required",
	"Class.key":                    "name",
	"Class.bindings":               "functions",
	"Class.methods":                "functions",
	"Class.extends":                "parents",
	"Function.key":                 "name",
	"FunctionBinding.fn":           "function",
	"DataflowStep.funcName":        "function",
	"ReferenceSpecification.class": "cls",
	"Deployment.class":             "_key",
	"Deployment.partitions":        "partitionCount",
	"Deployment.replicas":          "replicaCount",
	"Deployment.env":               "targetEnvs",
	"Deployment.envs":              "targetEnvs",
	"Deployment.environments":      "targetEnvs",
}

// outOfRange tells how to mend a value of the right type, by definition and field.
var outOfRange = map[string]string{
	"DataflowStep.target":         "use `@` for the object that the macro is called on",
	"Member.id":                   "members are numbered from 1",
	"Assignment.primary":          "write the id of a member",
	"Assignment.owners":           "write ids of members",
	"Assignment.shardIds":         "shards are numbered from 0 across the deployment",
	"Deployment.replicaCount":     "leave it out to compute it from the availability",
	"QosRequirement.latency":      "leave it out when there is no demand",
	"Environment.availability":    "write a share such as 0.99, not a percentage",
	"QosRequirement.availability": "write a share such as 0.99, not a percentage",
}

// unknownHint says what an unknown field of def was probably meant to be.
func (c *checker) unknownHint(def *definition, name string, p *path) string {
	if c.quiet || c.full() {
		return ""
	}
	switch {
	case strings.HasPrefix(name, "//") || strings.HasPrefix(name, "/*"):
		return "a comment begins with `#`"
	case strings.IndexFunc(name, isInvisible) >= 0:
		return "a no-break space is in the name: replace it by a space"
	case name != "" && strings.Trim(name, "0123456789") == "":
		return "a number has a dot and no comma, as in 0." + name
	}
	base := strings.TrimPrefix(def.name, compatible)
	if hint, ok := rejected[base+"."+name]; ok {
		return hint
	}
	if c.strict {
		if full, ok := c.model.structs[compatible+base]; ok {
			if f := full.byName[name]; f != nil {
				return "accepted without --strict"
			}
		}
		if base == "Class" && name == "objectType" {
			return "remove it; it is ignored without --strict"
		}
		if f := def.renamed[name]; f != nil {
			return fmt.Sprintf("use `%s`; the older spelling is accepted without --strict", f.name)
		}
	}
	if near := def.meant(name); near != "" {
		return fmt.Sprintf("did you mean `%s`?", near)
	}
	if place := below(def, name); place != "" {
		return fmt.Sprintf("did you mean `%s.%s`?", place, name)
	}
	if names := def.shown(); len(names) <= 12 {
		return "known fields: " + strings.Join(names, ", ")
	}
	return strings.TrimRight("`oprc explain "+p.dotted(), " ") + "` lists the fields that there are"
}

// meant returns the field that an unknown name was probably meant to be, or "".
func (def *definition) meant(name string) string {
	if f := def.renamed[name]; f != nil {
		return f.name
	}
	if word := elsewhere[strings.TrimPrefix(def.name, compatible)+"."+name]; word != "" {
		return word
	}
	return nearest(name, def.names())
}

// names lists the fields of a definition that a user may set.
func (def *definition) names() []string {
	var out []string
	for _, f := range def.fields {
		if !f.system {
			out = append(out, f.name)
		}
	}
	return out
}

func (def *definition) shown() []string {
	out := def.names()
	slices.Sort(out)
	return out
}

// below finds a field of that name in the structs under def.
func below(def *definition, name string) string {
	for _, f := range def.fields {
		sub := f.value.def
		if sub == nil {
			continue
		}
		if sub.byName[name] != nil {
			return f.name
		}
		for _, g := range sub.fields {
			if g.value.def != nil && g.value.def.byName[name] != nil {
				return f.name + "." + g.name
			}
		}
	}
	return ""
}

// nearest returns the candidate that a misspelt word most probably meant, or "".
func nearest(word string, candidates []string) string {
	best, bestDistance := "", max(1, min(4, (len(word)+1)/3))+1
	folded := fold(word)
	for _, c := range candidates {
		d := distance(folded, fold(c))
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best != "" || len(folded) < 3 {
		return best
	}
	for _, c := range candidates { // env for environment, desc for description
		short, long := folded, fold(c)
		if len(short) > len(long) {
			short, long = long, short
		}
		if len(short) >= 3 && strings.HasPrefix(long, short) {
			return c
		}
	}
	return ""
}

// fold drops what differs between spellings of one word.
func fold(s string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(s))
}

// distance counts the edits between two words: insertions, deletions,
// substitutions, and swaps of neighbours.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		rows[0], rows[1], rows[2] = last, row, before
	}
	return rows[1][len(b)]
}
