package oprc

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Code names a kind of finding; it never changes meaning.
type Code string

// The codes of all findings.
const (
	CodeName         Code = "E001" // a name is missing or malformed
	CodeField        Code = "E002" // unknown field
	CodeEnum         Code = "E003" // value outside an enumeration
	CodeDuplicate    Code = "E004"
	CodeFunctionRef  Code = "E005" // binding names no function
	CodeParent       Code = "E006" // unknown parent, or inheritance cycle
	CodeMacro        Code = "E007"
	CodeProvision    Code = "E008"
	CodeEnvironment  Code = "E009"
	CodeAvailability Code = "E010"
	CodeShards       Code = "E011"
	CodeRequired     Code = "E012"
	CodeAccess       Code = "E013"
	CodeFrozen       Code = "E014"
	CodeClassRef     Code = "E015" // deployment names no class
	CodeQoS          Code = "E016"
	CodeMemberFn     Code = "E017" // disabledFn, standbyFn
	CodeImage        Code = "E018"
	CodeDialect      Code = "E019"
	CodeSyntax       Code = "E020"
	CodeLimits       Code = "E021"
	CodeType         Code = "E022"
	CodeCondition    Code = "E023" // CEL
	CodeStateType    Code = "E024"
	CodePolicy       Code = "E025" // a transition policy denies the change

	CodeLegacy      Code = "W101" // legacy spelling mapped
	CodeCoerced     Code = "W102" // scalar coerced to string
	CodeOutputCls   Code = "W103"
	CodeUnbound     Code = "W104" // unbound function, unknown macro target
	CodeReplicas    Code = "W105" // replicas below the availability target
	CodeSystemField Code = "W106"
	CodeDefault     Code = "W107" // default applied (info)
	CodeIdle        Code = "W108" // deployment of what is disabled
	CodeForeign     Code = "W109" // a document of another system (info)
	CodeNothing     Code = "W110" // a file without packages and environments
	CodeDamage      Code = "W111" // a record of the ledger is lost or altered
)

// Severity orders findings by what they stop.
type Severity string

// The severities. An error stops the package; the others stop nothing.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityInfo    Severity = "info"
)

// A Position is a place in a user's file. Line and Column count from 1; zero
// means unknown. Column counts Unicode code points.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// A Diagnostic is one finding in a user's file.
type Diagnostic struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	Position
	Pointer string `json:"pointer"` // JSON pointer (RFC 6901) into the document
	Package string `json:"package,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// String formats the finding as one line: position, code, message, hint.
func (d Diagnostic) String() string {
	var b strings.Builder
	if pos := d.Position.String(); pos != "" {
		b.WriteString(pos + ": ")
	}
	fmt.Fprintf(&b, "%s: %s", d.Code, d.Message)
	if d.Hint != "" {
		fmt.Fprintf(&b, " (%s)", d.Hint)
	}
	return b.String()
}

// Diagnostics are findings, in any order until [Diagnostics.Sort].
type Diagnostics []Diagnostic

// Sort orders findings by file, position, code and pointer, and drops repeats.
func (ds Diagnostics) Sort() Diagnostics {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Pointer, b.Pointer), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(ds)
}

// Errors returns the findings of severity error.
func (ds Diagnostics) Errors() Diagnostics {
	var out Diagnostics
	for _, d := range ds {
		if d.Severity == SeverityError {
			out = append(out, d)
		}
	}
	return out
}

// Except returns the findings of other severities.
func (ds Diagnostics) Except(severity Severity) Diagnostics {
	return slices.DeleteFunc(slices.Clone(ds), func(d Diagnostic) bool { return d.Severity == severity })
}

// Err returns an [InvalidError] if a finding is an error, else nil.
func (ds Diagnostics) Err() error {
	if len(ds.Errors()) == 0 {
		return nil
	}
	return &InvalidError{Diagnostics: ds}
}

// A Locator returns the position of the node that a JSON pointer names, in the
// canonical spelling of the model; where there is no such node, that of its
// nearest ancestor. A nil Locator knows no positions.
type Locator func(pointer string) Position

// At is the locator's answer, and safe on nil.
func (l Locator) At(pointer string) Position {
	if l == nil {
		return Position{}
	}
	return l(pointer)
}

// A File is the content of one file of packages and environments.
type File struct {
	Path string // as the user named it, or relative to its source's root
	Data []byte
	Blob string // content id, where known; equal ids mean equal content
	// Found means that nobody named the file: it was found in a directory or a source,
	// where documents of other systems are passed over.
	Found bool

	// Read returns the content again, where Data is nil: so that nobody holds many
	// files at once.
	Read func() ([]byte, error) `json:"-"`
}

// Content is Data, or what Read returns.
func (f File) Content() ([]byte, error) {
	if f.Data != nil || f.Read == nil {
		return f.Data, nil
	}
	return f.Read()
}

// A Document is one package or one environment as read from a file: exactly one
// of Package and Environment is set.
type Document struct {
	Package     *Package
	Environment *Environment
	Path        string  // file it was read from, as the user named it
	Blob        string  // content id of that file, where known
	Line        int     // of that file, where it starts: documents of one file are in this order
	Where       Locator // positions of its nodes
}

// Name returns the name of the package or environment.
func (d Document) Name() string {
	switch {
	case d.Package != nil:
		return d.Package.Name
	case d.Environment != nil:
		return d.Environment.Name
	}
	return ""
}
