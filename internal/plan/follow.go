package plan

import (
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// One mistake is one finding: what only follows from another is not said.

// follows reports whether a finding of resolving a package only follows from an
// error that reading it, or resolving it, has found as well.
func follows(d oprc.Diagnostic, errs []oprc.Diagnostic) bool {
	return slices.ContainsFunc(errs, func(e oprc.Diagnostic) bool {
		if e.Package != d.Package || e == d {
			return false
		}
		if e.Code == oprc.CodeFunctionRef && d.Code == oprc.CodeUnbound {
			return true // it is bound, but for a misspelling
		}
		return within(e.Pointer, d.Pointer) || within(d.Pointer, e.Pointer) || unnamed(e.Pointer) && refers(d.Code)
	})
}

// within reports whether a place is another one or inside it.
func within(place, other string) bool {
	return other != "" && (place == other || strings.HasPrefix(place, other+"/"))
}

// unnamed reports whether an error is about a class or function as a whole, or its
// name: then nobody can refer to it.
func unnamed(pointer string) bool {
	parts := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	if parts[0] != "classes" && parts[0] != "functions" {
		return false
	}
	return len(parts) <= 2 || len(parts) == 3 && parts[2] == "name"
}

// refers reports whether findings of a code are about references.
func refers(c oprc.Code) bool {
	switch c {
	case oprc.CodeFunctionRef, oprc.CodeParent, oprc.CodeClassRef, oprc.CodeMacro, oprc.CodeOutputCls, oprc.CodeUnbound, oprc.CodeMemberFn:
		return true
	}
	return false
}
