package oprc

import (
	"regexp"
	"strings"
)

// MaxNameLen is the most bytes that a name may have.
const MaxNameLen = 253

var nameRE = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// ValidName reports whether s can name a package, class, function or environment.
func ValidName(s string) bool { return len(s) <= MaxNameLen && nameRE.MatchString(s) }

// Key returns the key of the class or function name in package pkg.
func Key(pkg, name string) string { return pkg + "." + name }

// Abs makes a reference absolute: one with a leading dot is relative to pkg.
func Abs(pkg, ref string) string {
	if strings.HasPrefix(ref, ".") {
		return pkg + ref
	}
	return ref
}

// NoOutput reports whether an outputCls says that there is none.
func NoOutput(cls string) bool {
	return cls == "" || strings.EqualFold(cls, "none") || strings.EqualFold(cls, "void")
}

// BuiltinPackage is the name of the package that is always present.
const BuiltinPackage = "builtin"
