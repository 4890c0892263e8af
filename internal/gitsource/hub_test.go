package gitsource_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/gitsource/gittest"
)

// together opens sources of one server that differ in ref and path.
func together(t *testing.T, hub *gitsource.Hub, srv *gittest.Server, cache string) map[string]*gitsource.Source {
	t.Helper()
	out := map[string]*gitsource.Source{}
	for name, o := range map[string]gitsource.Options{
		"all": {}, "some": {Path: "apps"}, "other": {Ref: "stage"},
	} {
		o.Name, o.URL, o.CacheDir = name, srv.URL, cache
		s, err := hub.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = s
	}
	return out
}

func TestSourcesOfOneRepositoryShareWhatTheyAsk(t *testing.T) {
	w := newWork(t)
	w.commit("apps/a.yaml", "name: a\n")
	w.Git("branch", "stage")
	srv := w.Serve(t)
	var mu sync.Mutex
	ops := map[string]int{}
	hub, cache := &gitsource.Hub{Now: time.Now, Observe: func(op string, err error) {
		mu.Lock()
		defer mu.Unlock()
		ops[fmt.Sprint(op, " ", err == nil)]++
	}}, t.TempDir()
	sources := together(t, hub, srv, cache)
	pollAll := func(since time.Time) {
		t.Helper()
		var all sync.WaitGroup
		for _, s := range sources {
			all.Go(func() {
				rev, err := s.Poll(t.Context(), since)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := s.Files(t.Context(), rev); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	began := time.Now()
	pollAll(began)
	if asked := srv.Since(); asked.Lists != 1+1 && asked.Lists != 1+2 { // a fetch lists again: one for each branch that is not there yet
		t.Errorf("%d listings for three sources", asked.Lists)
	}
	pollAll(began) // nothing is asked again that is known since then
	if asked := srv.Since(); asked.Lists+asked.Fetches != 0 {
		t.Errorf("%d listings and %d fetches for what is known", asked.Lists, asked.Fetches)
	}
	pollAll(time.Now())
	if asked := srv.Since(); asked.Lists != 1 || asked.Fetches != 0 {
		t.Errorf("%d listings and %d fetches, want one listing", asked.Lists, asked.Fetches)
	}
	srv.Fail(500)
	failed := time.Now()
	for name, s := range sources {
		if _, err := s.Poll(t.Context(), failed); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if asked := srv.Since(); asked.Lists != 1 {
		t.Errorf("%d listings of a server that fails, want one", asked.Lists)
	}
	if ops["list true"] != 2 || ops["list false"] != 1 || ops["fetch true"] < 1 {
		t.Errorf("observed %v", ops)
	}
	mirrors, err := filepath.Glob(filepath.Join(cache, "*"))
	if err != nil || len(mirrors) != 1 {
		t.Errorf("mirrors: %v, %v", mirrors, err)
	}
}

func TestAnotherWayInHasAMirrorOfItsOwn(t *testing.T) {
	w := newWork(t)
	w.commit("a.yaml", "name: a\n")
	srv := w.Serve(t)
	srv.Ask("ann", "secret")
	hub, cache := &gitsource.Hub{}, t.TempDir()
	in, err := hub.Open(gitsource.Options{Name: "in", URL: srv.URL, CacheDir: cache, Username: "ann", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	poll(t, in)
	out, err := hub.Open(gitsource.Options{Name: "out", URL: srv.URL, CacheDir: cache, Username: "eve", Password: "guess"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Poll(t.Context(), time.Time{}); err == nil {
		t.Error("who may not see the repository was told what another found out")
	}
}

// Of a thousand packages a commit that touches one costs the reading of one file.
func TestOneOfAThousand(t *testing.T) {
	w := newWork(t)
	for i := range 1000 {
		w.Write(fmt.Sprintf("p%04d.yaml", i), fmt.Sprintf("name: p%d\n", i))
	}
	w.Commit("a thousand")
	srv := w.Serve(t)
	s := open(t, gitsource.Options{URL: srv.URL})
	first, err := s.Files(t.Context(), poll(t, s))
	if err != nil || len(first) != 1000 {
		t.Fatalf("%d files, %v", len(first), err)
	}
	w.commit("p0500.yaml", "name: p500\nversion: \"2\"\n")
	srv.Since()
	began := time.Now()
	second, err := s.Files(t.Context(), poll(t, s))
	if err != nil {
		t.Fatal(err)
	}
	asked := srv.Since()
	t.Logf("%s, %d fetch, %d bytes", time.Since(began).Round(time.Millisecond), asked.Fetches, asked.Sent)
	var read []string
	for i, f := range second {
		if &f.Data[0] != &first[i].Data[0] {
			read = append(read, f.Path)
		}
	}
	if diff := cmp.Diff([]string{"p0500.yaml"}, read); diff != "" || asked.Fetches != 1 || asked.Sent > 64<<10 {
		t.Errorf("read again: %s; %d fetches, %d bytes", diff, asked.Fetches, asked.Sent)
	}
}

// The mirror that another source renewed, because it had collected too many packs,
// is used on.
func TestAMirrorThatIsRenewedUnderASibling(t *testing.T) {
	w := newWork(t)
	w.commit("apps/a.yaml", "name: a\n")
	w.Git("branch", "stage")
	srv := w.Serve(t)
	hub, cache := &gitsource.Hub{}, t.TempDir()
	sources := together(t, hub, srv, cache)
	rev, err := sources["other"].Poll(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 55 {
		w.commit("apps/a.yaml", fmt.Sprintf("name: a\nversion: \"%d\"\n", i))
		if got, want := read(t, sources["all"])["apps/a.yaml"], fmt.Sprintf("name: a\nversion: \"%d\"\n", i); got != want {
			t.Fatalf("commit %d: got %q", i, got)
		}
	}
	if n := len(glob(t, filepath.Join(cache, "*", "objects", "pack", "*.pack"))); n > 10 {
		t.Errorf("the mirror has %d packs after 55 fetches, want a few", n)
	}
	files, err := sources["other"].Files(t.Context(), rev)
	if err != nil || len(files) != 1 {
		t.Errorf("%d files, %v", len(files), err)
	}
}
