package cli

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/renameio/v2/maybe"

	"github.com/oaas-platform/oprc/internal/dirsource"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

// packageFiles reads what -f names.
func (e *env) packageFiles(paths []string) ([]oprc.File, error) {
	if len(paths) == 0 {
		return nil, usagef("no files given: name files or directories with -f PATH, or - for stdin")
	}
	read, err := dirsource.Read(paths, e.in)
	e.passed(read.Links)
	return read.Files, err
}

// passed says which links below the directories that -f names are not followed.
func (e *env) passed(links []string) {
	const few = 3
	if len(links) == 0 {
		return
	}
	first := strings.Join(links[:min(few, len(links))], ", ")
	if more := len(links) - few; more > 0 {
		first += fmt.Sprintf(" and %d more", more)
	}
	e.hint("Not read, for links are not followed there: " + first)
}

func contents(files []oprc.File) map[string][]byte {
	out := make(map[string][]byte, len(files))
	for _, f := range files {
		out[f.Path] = f.Data
	}
	return out
}

// readPlan reads a plan file, which the key in a PEM file must have signed if one is named.
func readPlan(path, keyFile string) (reconcile.PlanFile, error) {
	var key ed25519.PublicKey
	if keyFile != "" {
		var err error
		if key, err = publicKey(keyFile); err != nil {
			return reconcile.PlanFile{}, err
		}
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return reconcile.PlanFile{}, fmt.Errorf("plan file %s: %w", path, oprc.ErrNotFound)
	}
	if err != nil {
		return reconcile.PlanFile{}, fmt.Errorf("plan file: %w", err)
	}
	f, err := reconcile.DecodePlanFile(data, key)
	if err != nil {
		return f, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// writePlan saves a plan, whole or not at all, signed with the key in a PEM file if one
// is named. It holds secrets: only its owner may read it.
func (e *env) writePlan(path string, f reconcile.PlanFile, keyFile string) error {
	var key ed25519.PrivateKey
	if keyFile != "" {
		var err error
		if key, err = privateKey(keyFile); err != nil {
			return err
		}
	}
	data, err := f.Encode(key)
	if err != nil {
		return err
	}
	if err := e.save(path, data, 0o600); err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	return nil
}

// save writes a file whole or not at all; "-" is stdout. What exists and is no regular
// file, such as a pipe or /dev/null, is written to and never replaced.
func (e *env) save(path string, data []byte, perm os.FileMode) error {
	if path == "-" {
		_, err := e.raw.Write(data)
		return err
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().IsRegular() {
		return maybe.WriteFile(path, data, perm)
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a directory", path)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// holdsNothing is the error of a request whose files hold no document at all: an
// unset variable or a wrong path, and hardly what somebody wants done.
func holdsNothing(req reconcile.Request, p *plan.Plan) error {
	asked := len(req.Scope.Delete) + len(req.Scope.Restart) + len(req.Scope.Maintain)
	if len(req.Files) == 0 || asked > 0 || req.Scope.Complete || !p.Empty() || p.Summary.Unchanged > 0 || len(p.Conflicts)+len(p.Kept) > 0 || p.Diagnostics.Err() != nil {
		return nil
	}
	return errNoDocument(len(req.Files))
}

func errNoDocument(files int) error {
	what := "the file holds"
	if files != 1 {
		what = fmt.Sprintf("the %d files hold", files)
	}
	return stepError{
		fmt.Errorf("%s no package and no environment: %w", what, oprc.ErrNotFound),
		"oprc init writes a package to start from.",
	}
}

// tellFindings prints a plan's findings for a person, on stderr.
func (e *env) tellFindings(files []oprc.File, ds oprc.Diagnostics, mask []string) error {
	out, found := view.Output{W: e.err, Mask: mask}, view.Findings{Files: len(files), Diagnostics: ds, Contents: contents(files)}
	if ds.Err() != nil {
		return out.Findings(found)
	}
	return out.Remarks(found)
}
