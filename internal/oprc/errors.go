package oprc

import (
	"errors"
	"fmt"
	"strings"
)

// The kinds of failure that callers may test for with errors.Is. Anything else
// is the operator's problem: Redis, the network, the disk.
var (
	ErrInvalid  = errors.New("invalid")     // do not retry: the input is wrong
	ErrNotFound = errors.New("not found")   //
	ErrConflict = errors.New("conflict")    // read again, then retry
	ErrHeld     = errors.New("held")        // waits for a person's approval
	ErrDenied   = errors.New("not allowed") // a policy forbids it
	ErrFenced   = errors.New("fenced")      // another daemon leads now: write nothing more

	// ErrUnverified means that nobody who may has signed it. It is an [ErrDenied].
	ErrUnverified error = unverified{}
)

type unverified struct{}

func (unverified) Error() string { return "not verified" }
func (unverified) Unwrap() error { return ErrDenied }

// A ConflictError says which objects changed since a plan was made, or who owns
// them. It is an [ErrConflict].
type ConflictError struct {
	Reason  string   // one clause, e.g. "live state moved since the plan was made"
	Objects []string // "package/example: revision 7, now 8"; sorted
}

func (e *ConflictError) Error() string {
	if len(e.Objects) == 0 {
		return "conflict: " + e.Reason
	}
	return fmt.Sprintf("conflict: %s: %s", e.Reason, strings.Join(e.Objects, "; "))
}

// Unwrap makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Unwrap() error { return ErrConflict }

// An InvalidError carries the findings that made input unacceptable. It is an
// [ErrInvalid].
type InvalidError struct{ Diagnostics Diagnostics }

func (e *InvalidError) Error() string {
	errs := e.Diagnostics.Errors()
	switch len(errs) {
	case 0:
		return "invalid"
	case 1:
		return errs[0].String()
	}
	return fmt.Sprintf("%s (and %d more errors)", errs[0], len(errs)-1)
}

// Unwrap makes errors.Is(err, ErrInvalid) true.
func (e *InvalidError) Unwrap() error { return ErrInvalid }

// A DeniedError says what a policy does not allow. It is an [ErrDenied].
type DeniedError struct {
	Reason  string   // one clause
	Objects []string // what is denied, each with the policy's message
	// Findings are the denials at the lines that ask for what is denied, where they are known.
	Findings Diagnostics
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("not allowed: %s: %s", e.Reason, strings.Join(e.Objects, "; "))
}

// Unwrap makes errors.Is(err, ErrDenied) true.
func (e *DeniedError) Unwrap() error { return ErrDenied }
