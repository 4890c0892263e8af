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
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID     string            `json:"ruleId"`
		RuleIndex  int               `json:"ruleIndex"`
		Level      string            `json:"level"`
		Message    sarifText         `json:"message"`
		Locations  []sarifLocation   `json:"locations"`
		Properties map[string]string `json:"properties,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
)

func sarif(ds oprc.Diagnostics) sarifLog {
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
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{string(c), sarifText{ruleTitle(c)}})
	}
	for _, d := range ds {
		run.Results = append(run.Results, sarifFinding(d, slices.Index(codes, d.Code)))
	}
	return sarifLog{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0",
		Runs:    []sarifRun{run},
	}
}

func sarifFinding(d oprc.Diagnostic, rule int) sarifResult {
	r := sarifResult{
		RuleID: string(d.Code), RuleIndex: rule, Level: level(d.Severity, "note"),
		Message: sarifText{d.Message}, Properties: map[string]string{},
	}
	if d.Hint != "" {
		r.Message.Text += " (" + d.Hint + ")"
	}
	if d.Pointer != "" {
		r.Properties["pointer"] = d.Pointer
	}
	if d.File != "" {
		at := sarifPhysical{Artifact: sarifArtifact{fileURI(d.File)}}
		if d.Line > 0 {
			at.Region = &sarifRegion{d.Line, d.Column}
		}
		r.Locations = append(r.Locations, sarifLocation{at})
	}
	return r
}

func fileURI(path string) string {
	u := url.URL{Path: filepath.ToSlash(path)}
	if filepath.IsAbs(path) {
		u.Scheme = "file"
	}
	return u.String()
}
