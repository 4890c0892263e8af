package oprc

import (
	"path"
	"slices"
	"strings"
)

// MaxFileSize is the most bytes that a file of packages may have. Whoever reads
// one stops a byte later, so that the validator can say that it is too large.
const MaxFileSize = 16 << 20

// IsPackageFile reports whether a file that was found while reading a directory may
// hold packages, by its slash-separated path: *.yaml, *.yml and *.json in any case, but
// nothing hidden, and not the program's own configuration, oprc.yaml. Whether it does
// hold any, its content decides.
func IsPackageFile(name string) bool {
	base := strings.ToLower(path.Base(name))
	if slices.ContainsFunc(strings.Split(name, "/"), Hidden) || base == "oprc.yaml" || base == "oprc.yml" {
		return false
	}
	switch path.Ext(base) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// Hidden reports whether a file or directory of that name is left out when a
// directory is read.
func Hidden(name string) bool {
	return len(name) > 1 && name[0] == '.' && name != ".."
}
