package gitsource_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/gitsource"
)

// together opens sources of one server that differ in ref and path.
func together(t *testing.T, hub *gitsource.Hub, srv *server, cache string) map[string]*gitsource.Source {
	t.Helper()
	out := map[string]*gitsource.Source{}
	for name, o := range map[string]gitsource.Options{
		"all": {}, "some": {Path: "apps"}, "other": {Ref: "stage"},
	} {
		o.Name, o.URL, o.CacheDir = name, srv.url, cache
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
	w.git("branch", "stage")
	srv := serve(t, w)
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
	if lists, _, _ := srv.since(); lists != 1+1 && lists != 1+2 { // a fetch lists again: one for each branch that is not there yet
		t.Errorf("%d listings for three sources", lists)
	}
	pollAll(began) // nothing is asked again that is known since then
	if lists, fetches, _ := srv.since(); lists+fetches != 0 {
		t.Errorf("%d listings and %d fetches for what is known", lists, fetches)
	}
	pollAll(time.Now())
	if lists, fetches, _ := srv.since(); lists != 1 || fetches != 0 {
		t.Errorf("%d listings and %d fetches, want one listing", lists, fetches)
	}
	srv.set(func(s *server) { s.status = 500 })
	failed := time.Now()
	for name, s := range sources {
		if _, err := s.Poll(t.Context(), failed); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if lists, _, _ := srv.since(); lists != 1 {
		t.Errorf("%d listings of a server that fails, want one", lists)
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
	srv := serve(t, w)
	srv.set(func(s *server) { s.user, s.password = "ann", "secret" })
	hub, cache := &gitsource.Hub{}, t.TempDir()
	in, err := hub.Open(gitsource.Options{Name: "in", URL: srv.url, CacheDir: cache, Username: "ann", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	poll(t, in)
	out, err := hub.Open(gitsource.Options{Name: "out", URL: srv.url, CacheDir: cache, Username: "eve", Password: "guess"})
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
		w.write(fmt.Sprintf("p%04d.yaml", i), fmt.Sprintf("name: p%d\n", i))
	}
	w.commitAll("a thousand")
	srv := serve(t, w)
	s := open(t, gitsource.Options{URL: srv.url})
	first, err := s.Files(t.Context(), poll(t, s))
	if err != nil || len(first) != 1000 {
		t.Fatalf("%d files, %v", len(first), err)
	}
	w.commit("p0500.yaml", "name: p500\nversion: \"2\"\n")
	srv.since()
	began := time.Now()
	second, err := s.Files(t.Context(), poll(t, s))
	if err != nil {
		t.Fatal(err)
	}
	_, fetches, received := srv.since()
	t.Logf("%s, %d fetch, %d bytes", time.Since(began).Round(time.Millisecond), fetches, received)
	var read []string
	for i, f := range second {
		if &f.Data[0] != &first[i].Data[0] {
			read = append(read, f.Path)
		}
	}
	if diff := cmp.Diff([]string{"p0500.yaml"}, read); diff != "" || fetches != 1 || received > 64<<10 {
		t.Errorf("read again: %s; %d fetches, %d bytes", diff, fetches, received)
	}
}

// The mirror that another source renewed, because it had collected too many packs,
// is used on.
func TestAMirrorThatIsRenewedUnderASibling(t *testing.T) {
	w := newWork(t)
	w.commit("apps/a.yaml", "name: a\n")
	w.git("branch", "stage")
	srv := serve(t, w)
	hub, cache := &gitsource.Hub{}, t.TempDir()
	sources := together(t, hub, srv, cache)
	rev, err := sources["other"].Poll(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 55 {
		w.commit("apps/a.yaml", fmt.Sprintf("name: a\nversion: \"%d\"\n", i))
		if _, err := sources["all"].Poll(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	packs, err := filepath.Glob(filepath.Join(cache, "*", "objects", "pack", "*.pack"))
	if err != nil || len(packs) > 50 {
		t.Fatalf("%d packs, %v", len(packs), err)
	}
	files, err := sources["other"].Files(t.Context(), rev)
	if err != nil || len(files) != 1 {
		t.Errorf("%d files, %v", len(files), err)
	}
}
