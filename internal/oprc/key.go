package oprc

import "strings"

// MaxNameLen is the most bytes that a name may have.
const MaxNameLen = 253

// ValidName reports whether s can name a package, class, function or environment: letters
// and digits, and between them also ".", "_" and "-".
func ValidName(s string) bool {
	if s == "" || len(s) > MaxNameLen {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case (c == '.' || c == '_' || c == '-') && 0 < i && i < len(s)-1:
		default:
			return false
		}
	}
	return true
}

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
