package schema

import (
	"fmt"
	"math"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
)

// These hints write a value as it would be accepted.

// better writes a name or an amount as it would be accepted, or returns "".
func better(v *value, text string) string {
	switch v.name {
	case "Text":
		return "give it a value, or remove it" // it is empty
	case "Name":
		name := strings.Trim(notInNames().ReplaceAllString(text, "-"), "._-")
		if name != "" && name != text && v.pattern.MatchString(name) && len(name) <= v.maxRunes {
			return fmt.Sprintf("write `%s`", name)
		}
	case "Quantity":
		return betterQuantity(v, text)
	}
	return ""
}

var (
	notInNames = lazyregexp.New(`[^A-Za-z0-9._-]+`)
	amount     = lazyregexp.New(`^([0-9.]+)\s*([A-Za-z]*)$`)
)

// unitsMeant are the units that people write, in lower case, and what they mean.
var unitsMeant = map[string]string{
	"cpu": "", "cpus": "", "core": "", "cores": "", "vcpu": "", "vcpus": "",
	"milli": "m", "millis": "m", "millicpu": "m", "millicores": "m", "mcpu": "m",
	"b": "", "byte": "", "bytes": "",
	"kb": "k", "mb": "M", "gb": "G", "tb": "T", "g": "G", "t": "T",
	"ki": "Ki", "mi": "Mi", "gi": "Gi", "ti": "Ti", "kib": "Ki", "mib": "Mi", "gib": "Gi", "tib": "Ti",
}

func betterQuantity(v *value, text string) string {
	m := amount().FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return ""
	}
	unit, known := unitsMeant[strings.ToLower(m[2])]
	if written := m[1] + unit; known && v.pattern.MatchString(written) {
		if strings.Contains("kMGT", unit) && unit != "" {
			return fmt.Sprintf("write `%s`, or `%s` for powers of 1024", written, m[1]+strings.ToUpper(unit)+"i")
		}
		return fmt.Sprintf("write `%s`", written)
	}
	return ""
}

// listHint writes what stands where a list is expected as one.
func listHint(v *value, n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode && v.elem.shape == structShape && len(n.Content) > 1 && spaced(n.Content[0].Value+":") != "":
		return "a dash and a space begin an item: write " + fixed(spaced(n.Content[0].Value+": "+shorten(n.Content[1].Value)))
	case isText(n) && v.elem.shape == structShape && textHint(n.Value) != "":
		return textHint(n.Value)
	case isText(n) && v.elem.shape == textShape && n.Value != "":
		return fmt.Sprintf("write it as a list: [%s]", shorten(n.Value))
	case n.Kind == yaml.MappingNode && v.elem.shape == structShape && len(n.Content) > 1 && n.Content[1].Kind == yaml.ScalarNode && n.Style&yaml.FlowStyle == 0:
		return fmt.Sprintf("write `- %s: %s`: each item of the list starts with `- `", n.Content[0].Value, shorten(n.Content[1].Value))
	case n.Kind == yaml.MappingNode && v.elem.shape == structShape:
		return "write it as a list: each item starts with `- `"
	case n.Kind == yaml.MappingNode && v.elem.shape == textShape && len(n.Content) > 0:
		return fmt.Sprintf("write it as a list: [%s]", shorten(strings.Join(fieldNames(n), ", ")))
	}
	return ""
}

// numberHint writes as a number what looks like one.
func numberHint(v *value, n *yaml.Node, s spot) string {
	if isText(n) && s.field != nil {
		if hint := unitHint(v, n, s.field.name); hint != "" {
			return hint
		}
	}
	switch f, ok := float(n); {
	case isText(n) && looksNumeric(n.Value):
		return "write it without quotes"
	case ok && v.shape == intShape && f == math.Trunc(f) && math.Abs(f) < 1<<53:
		return fmt.Sprintf("write %.0f", f)
	}
	return ""
}

// mismatchHint is advice for a value of another type than is expected.
func mismatchHint(v *value, n *yaml.Node) string {
	switch {
	case isTemplate(n):
		return templateHint
	case v.shape == mapShape && namedValues(n) != "":
		return namedValues(n)
	case isNull(n):
		return "give it a value, or remove it"
	case n.Kind == yaml.ScalarNode && !isText(n) && !isBare(n):
		return "remove the tag"
	case v.shape == structShape && isText(n) && textHint(n.Value) != "":
		return textHint(n.Value)
	case v.shape == structShape && isText(n) && n.Value != "":
		for _, f := range v.def.fields {
			if f.required && f.value.shape == textShape && (f.name == "name" || f.name == "function") {
				return fmt.Sprintf("write {%s: %s}", f.name, shorten(n.Value))
			}
		}
	}
	return ""
}

func looksNumeric(s string) bool {
	return s != "" && strings.Trim(s, "0123456789.-") == ""
}

func boolHint(n *yaml.Node) string {
	switch strings.ToLower(n.Value) {
	case "true", "yes", "on", "1", "y":
		return "write true"
	case "false", "no", "off", "0", "n":
		return "write false"
	}
	return ""
}
