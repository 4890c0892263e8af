// Package schema reads package files: YAML or JSON in, documents and findings
// out. It is the home of CUE and of the YAML parser.
//
//	bytes -> parse -> nodes -> normalise and check -> canonical nodes -> decode -> oprc.Document
//	                              ^
//	           definitions, read from schema/*.cue
//
// The CUE definitions are the only description of the model. They are read once
// into a table, and one walk over a document against that table renames older
// spellings, reports every mistake at its very token, and leaves nodes that the
// decoder takes as they are. CUE's own evaluator is not asked at run time: it
// reports in tiers and without positions. A differential test holds the walk to
// its verdicts.
package schema
