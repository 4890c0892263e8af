package gitsource_test

import (
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/gitsource/gittest"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// A work is a repository that a test works on.
type work struct {
	*gittest.Repo
	t *testing.T
}

func newWork(t *testing.T) work {
	t.Helper()
	return work{gittest.New(t), t}
}

// commit writes name and commits everything; it returns the commit.
func (w work) commit(name, content string) string {
	w.t.Helper()
	w.Write(name, content)
	return w.Commit("Change " + name)
}

func open(t *testing.T, o gitsource.Options) *gitsource.Source {
	t.Helper()
	if o.CacheDir == "" {
		o.CacheDir = t.TempDir()
	}
	s, err := new(gitsource.Hub).Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func poll(t *testing.T, s *gitsource.Source) gitsource.Revision {
	t.Helper()
	rev, err := s.Poll(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// read polls and returns the files by path.
func read(t *testing.T, s *gitsource.Source) map[string]string {
	t.Helper()
	files, err := s.Files(t.Context(), poll(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return contents(files)
}

func contents(files []oprc.File) map[string]string {
	out := map[string]string{}
	for _, f := range files {
		out[f.Path] = string(f.Data)
	}
	return out
}
