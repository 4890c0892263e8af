package view

import (
	"net/url"
	"path/filepath"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// The part of SARIF 2.1.0 that findings need.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string    `json:"id"`
		ShortDescription sarifText `json:"shortDescription"`
		FullDescription  sarifText `json:"fullDescription"`
		Help             sarifText `json:"help"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
		// What stays the same when lines move, so that a finding is not reported anew.
		Fingerprints map[string]string `json:"partialFingerprints"`
		Properties   map[string]string `json:"properties,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI       string `json:"uri"`
		URIBaseID string `json:"uriBaseId,omitempty"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
		EndLine     int `json:"endLine"`
	}
)

// sarif is the plan for code scanning: the refusal with its findings, each removal as a
// warning, and the other findings.
func (d planDigest) sarif(o Output) sarifLog {
	var ds oprc.Diagnostics
	if d.refusal != nil {
		ds = append(ds, d.refusal.diagnostics()...)
	}
	for _, r := range d.removals {
		verb := "The plan deletes "
		if r.kind == oprc.KindUnit {
			verb = "The plan undeploys "
		}
		ds = append(ds, oprc.Diagnostic{
			Code: CodeDelete, Severity: oprc.SeverityWarning, Position: d.site(r), Pointer: "/" + string(r.kind) + "/" + r.key,
			Package: r.pkg, Message: verb + r.plain(),
		})
	}
	seen := map[oprc.Diagnostic]bool{}
	for _, f := range ds {
		seen[f] = true
	}
	for _, f := range d.Plan.Diagnostics {
		if !seen[f] {
			ds = append(ds, f)
		}
	}
	return sarifOf(ds, o)
}

func sarifOf(ds oprc.Diagnostics, o Output) sarifLog {
	run := sarifRun{
		Tool:       sarifTool{sarifDriver{Name: "oprc", InformationURI: "https://github.com/oaas-platform/oprc"}},
		ColumnKind: "unicodeCodePoints",
	}
	var codes []oprc.Code
	for _, d := range ds {
		codes = append(codes, d.Code)
	}
	slices.Sort(codes)
	codes = slices.Compact(codes)
	for _, c := range codes {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRuleOf(c))
	}
	for _, d := range ds {
		run.Results = append(run.Results, sarifFinding(d, slices.Index(codes, d.Code), o))
	}
	return sarifLog{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0",
		Runs:    []sarifRun{run},
	}
}

// planRules describe the results of plans that are no findings of the checker.
var planRules = map[oprc.Code][2]string{
	CodeOwner:   {"Another origin owns the object", "Change it where it is owned, or take it over with --take-ownership."},
	CodeHeld:    {"The plan is held for approval", "It goes further than the limits of its source or command allow without approval."},
	CodeRefused: {"The plan is refused", "It is not carried out; the message says why."},
	CodeDelete:  {"The plan deletes or undeploys", "What the plan takes away is listed so that a reviewer sees it."},
}

func sarifRuleOf(c oprc.Code) sarifRule {
	if text, ours := planRules[c]; ours {
		return sarifRule{string(c), sarifText{Text: text[0]}, sarifText{Text: text[0] + "."}, sarifText{Text: text[1]}}
	}
	for _, doc := range Codes() {
		if doc.Code == c {
			help := doc.Fix + "\n\nThis gives " + string(c) + ":\n\n" + indent(doc.Fails) + "\n\nThis does not:\n\n" + indent(doc.Passes)
			return sarifRule{
				string(c),
				sarifText{Text: doc.Title},
				sarifText{Text: doc.Means},
				sarifText{Text: help, Markdown: doc.Fix + "\n\nThis gives " + string(c) + ":\n\n" + fenced("yaml", doc.Fails) + "\nThis does not:\n\n" + fenced("yaml", doc.Passes)},
			}
		}
	}
	text := sarifText{Text: string(c)}
	return sarifRule{string(c), text, text, text}
}

func sarifFinding(d oprc.Diagnostic, rule int, o Output) sarifResult {
	r := sarifResult{
		RuleID: string(d.Code), RuleIndex: rule, Level: level(d.Severity, "note"),
		Message: sarifText{Text: clean(d.Message)}, Properties: map[string]string{},
	}
	if d.Hint != "" {
		r.Message.Text += " (" + clean(d.Hint) + ")"
	}
	if d.Pointer != "" {
		r.Properties["pointer"] = d.Pointer
	}
	file := o.path(d.File)
	r.Fingerprints = map[string]string{
		"oprcFinding/v1": oprc.Digest([]string{string(d.Code), file, d.Package, d.Pointer, d.Message}),
	}
	if file != "" {
		at := sarifPhysical{Artifact: artifact(file)}
		if d.Line > 0 {
			at.Region = &sarifRegion{d.Line, d.Column, d.Line}
		}
		r.Locations = append(r.Locations, sarifLocation{at})
	}
	return r
}

// artifact is a file below the repository's root, or an absolute one.
func artifact(path string) sarifArtifact {
	if filepath.IsAbs(path) {
		return sarifArtifact{URI: fileURI(path)}
	}
	return sarifArtifact{fileURI(path), "%SRCROOT%"}
}

func fileURI(path string) string {
	u := url.URL{Path: filepath.ToSlash(path)}
	if filepath.IsAbs(path) {
		u.Scheme = "file"
	}
	return u.String()
}
