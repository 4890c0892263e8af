package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/dirsource"
	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/view"
)

// repositoryFile is the settings of a repository, at its root.
const repositoryFile = ".oprc.yaml"

// A repository is the checkout that the working directory lies in.
type repository struct {
	root     string // absolute; "" outside of any
	settings repositorySettings
}

// repositorySettings are what plan and validate take from a repository where no flag says
// otherwise. Whoever may change the repository may change them: they grant nothing.
type repositorySettings struct {
	Server   string   `json:"server,omitempty"`
	Policies []string `json:"policies,omitempty"` // files or patterns, from the root
	Mask     []string `json:"mask,omitempty"`     // in addition to the others
	Ignore   []string `json:"ignore,omitempty"`   // gitignore patterns of files not to read
}

// findRepository looks for the nearest directory above that is a checkout or has settings.
func findRepository() (repository, error) {
	dir, err := os.Getwd()
	if err != nil {
		return repository{}, fmt.Errorf("working directory: %w", err)
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, repositoryFile))
		switch {
		case err == nil:
			settings, err := decodeRepositorySettings(data)
			if err != nil {
				return repository{}, fmt.Errorf("%w %s: %w", oprc.ErrInvalid, filepath.Join(dir, repositoryFile), err)
			}
			return repository{dir, settings}, nil
		case !errors.Is(err, fs.ErrNotExist):
			return repository{}, fmt.Errorf("settings of the repository: %w", err)
		}
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			return repository{root: dir}, nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			return repository{}, nil
		}
		dir = above
	}
}

func decodeRepositorySettings(data []byte) (repositorySettings, error) {
	var s repositorySettings
	tree, err := view.DecodeSettings(data)
	if err != nil {
		return s, err
	}
	raw, err := json.Marshal(tree)
	if err != nil {
		return s, err
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return s, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return s, nil
}

// adopt takes settings of the repository where no flag says otherwise.
func (o *planOptions) adopt() (repository, error) {
	repo, err := findRepository()
	if err != nil || repo.root == "" {
		return repo, err
	}
	s := repo.settings
	o.mask = append(o.mask, s.Mask...)
	for _, pattern := range s.Policies {
		o.policy.patterns = append(o.policy.patterns, filepath.Join(repo.root, filepath.FromSlash(pattern)))
	}
	if s.Server != "" && o.server == "" && o.redis == "" && o.context == "" && o.against.file == "" && o.preview.source == "" {
		o.server = s.Server
		o.tokenless, err = o.unknownServer(s.Server)
	}
	return repo, err
}

// unknownServer reports whether no context of the user names a server. Such a one gets no
// token: whoever may change a repository could collect it.
func (e *env) unknownServer(url string) (bool, error) {
	all, err := e.readContexts()
	if err != nil {
		return true, err
	}
	for _, at := range all.Contexts {
		if strings.TrimSuffix(at.Server, "/") == strings.TrimSuffix(url, "/") {
			return false, nil
		}
	}
	if e.getenv("OPRC_TOKEN") != "" {
		e.hint("OPRC_TOKEN is not sent to " + url + ", which only " + repositoryFile + " names: use --server, or a context.")
	}
	return true, nil
}

// wanted are the files that the settings do not exclude.
func (r repository) wanted(files []oprc.File) ([]oprc.File, error) {
	if len(r.settings.Ignore) == 0 {
		return files, nil
	}
	reads, err := gitsource.Reads("", r.settings.Ignore)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(files, func(f oprc.File) bool {
		_, passed := reads(r.path(f.Path))
		return passed && f.Path != dirsource.Stdin
	}), nil
}

// path is a file as it is called from the root, with slashes; a file outside keeps its name.
func (r repository) path(file string) string {
	if r.root == "" || file == dirsource.Stdin {
		return filepath.ToSlash(file)
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return filepath.ToSlash(file)
	}
	rel, err := filepath.Rel(r.root, abs)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return filepath.ToSlash(file)
	}
	return filepath.ToSlash(rel)
}
