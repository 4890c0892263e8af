package oprc

import (
	"path"
	"slices"
	"strings"
)

// MaxFileSize is the most bytes that a file of packages may have. Whoever reads
// one stops a byte later, so that the validator can say that it is too large.
const MaxFileSize = 16 << 20

// notPackages are well-known files that stand beside packages and are none.
var notPackages = []string{"oprc.yaml", "oprc.yml", "images.json", "images.yaml", "package.json", "package-lock.json"}

// IsPackageFile reports whether a file that was found while reading a directory
// holds packages, by its slash-separated path: *.yaml, *.yml and *.json, but
// nothing hidden, and none of oprc.yaml, oprc.yml, images.json, images.yaml,
// package.json and package-lock.json.
func IsPackageFile(name string) bool {
	if slices.ContainsFunc(strings.Split(name, "/"), Hidden) || slices.Contains(notPackages, path.Base(name)) {
		return false
	}
	switch path.Ext(name) {
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
