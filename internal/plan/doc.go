// Package plan decides what must change so that live state becomes what the
// documents ask for, and nothing else.
//
//	documents ─┐                      ┌─ catalogue: package function class deployment
//	           ├─ desired ─ resolve ─ place ─ diff
//	live ──────┘     ↑                │  └─ units, with the generation that apply writes
//	                 └── keep going ──┘
//
// [Make] is a function: no clock, no I/O, no random numbers, and the same bytes
// for the same input in any order. It overlays the live packages with the
// documents that are in [Scope], takes away what the scope deletes or prunes,
// resolves and places what this can reach, and compares digests.
//
// What a plan may touch is the set of planned packages: those in scope, those
// that depend on a package that changes, and those whose placement reads an
// environment that changes. Everything else stays as it is recorded, even where
// it is stale.
//
// With Input.KeepGoing a package with an error stays at its live state, the world
// is built again without its change, and so on until no error is left. Each round
// gives up at least one change, so it ends.
//
// The laws that the tests hold the planner to are in docs/testing-the-plan.md.
package plan
