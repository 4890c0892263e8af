// Package ingest folds what CRMs report into the status of units and classes, and
// keeps heartbeats, from which the health of an environment follows.
//
//	reports -> Fold -> status, runtimes, events -> wakes the loop on drift or health
package ingest
