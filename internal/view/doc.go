// Package view turns plans, findings and listings into what people and programs
// read: text, JSON, YAML, Markdown, GitHub annotations, SARIF.
//
// It decides nothing and fetches nothing. Text is composed with full colour and
// reduced on its way out by the one writer that [NewWriter] makes; whatever
// comes from outside is stripped of control characters first, so that a CRM's
// error message cannot drive a terminal.
package view
