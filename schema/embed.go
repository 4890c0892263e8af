// Package schema holds the CUE definitions of everything that users write and
// that class runtimes exchange with the control plane.
//
// The same files serve people (`cue vet -d '#Package' file.yaml ./schema`) and
// the program, which derives its checks, its documentation of fields and its
// JSON Schema from them.
package schema

import "embed"

// FS holds the CUE module: the .cue files at its root and cue.mod.
//
//go:embed *.cue cue.mod/module.cue
var FS embed.FS
