package resolve

import "github.com/oaas-platform/oprc/internal/oprc"

// Builtin is the package that is always there: what every runtime can do with an
// object, and the class that most others inherit from.
func Builtin() *oprc.Package {
	p := &oprc.Package{Name: oprc.BuiltinPackage, Disabled: true}
	for _, name := range []string{"new", "update", "get", "delete", "file", "copy", "project", "native-query"} {
		f := oprc.Function{Name: name, Type: oprc.Builtin, State: oprc.Enabled}
		switch name {
		case "copy", "get", "file", "project":
			f.Immutable = true
		}
		p.Functions = append(p.Functions, f)
	}
	base := oprc.Class{Name: "base", StateType: oprc.StateNormal}
	for _, name := range []string{"new", "get", "file"} {
		base.Functions = append(base.Functions, oprc.Binding{Name: name, Function: "." + name, Access: oprc.Public})
	}
	p.Classes = []oprc.Class{base}
	return p
}
