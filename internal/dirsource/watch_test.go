package dirsource_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/dirsource"
)

const debounce = 20 * time.Millisecond

// watch runs Watch until the test ends and returns its wakes, once it watches.
func watch(t *testing.T, paths ...string) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	wakes, done := make(chan struct{}, 1000), make(chan error, 1)
	go func() {
		done <- dirsource.Watch(ctx, paths, debounce, func() { wakes <- struct{}{} })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	wantWake(t, wakes, "the start")
	return wakes
}

func wantWake(t *testing.T, wakes <-chan struct{}, after string) {
	t.Helper()
	select {
	case <-wakes:
	case <-time.After(time.Minute):
		t.Fatalf("no wake after: %s", after)
	}
	settle(wakes)
}

// wantNone does something that nobody is woken by: not each time, that is, for on a busy
// machine the wake of what was done before may come late.
func wantNone(t *testing.T, wakes <-chan struct{}, what string, do func()) {
	t.Helper()
	for range 5 {
		do()
		select {
		case <-wakes:
			settle(wakes)
		case <-time.After(10 * debounce):
			return
		}
	}
	t.Fatalf("a wake after: %s", what)
}

// settle waits until no wake has come for a while.
func settle(wakes <-chan struct{}) {
	for {
		select {
		case <-wakes:
		case <-time.After(5 * debounce):
			return
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchDirectory(t *testing.T) {
	tree(t, "pkgs/a.yaml", "other/x.yaml")
	wakes := watch(t, "pkgs")
	wantNone(t, wakes, "nothing", func() {})

	write(t, "pkgs/a.yaml", "new content")
	wantWake(t, wakes, "a write")
	write(t, "pkgs/new/deep/b.yaml", "one")
	wantWake(t, wakes, "a file in new directories")
	write(t, "pkgs/new/deep/b.yaml", "two")
	wantWake(t, wakes, "a write in a new directory")
	write(t, "pkgs/a.tmp", "saved by an editor")
	must(t, os.Rename("pkgs/a.tmp", "pkgs/a.yaml"))
	wantWake(t, wakes, "a rename over the file")
	must(t, os.Remove("pkgs/a.yaml"))
	wantWake(t, wakes, "a deletion")
	must(t, os.RemoveAll("pkgs/new"))
	wantWake(t, wakes, "a deleted directory")

	for _, name := range []string{"pkgs/.a.yaml.swp", "pkgs/README.md", "pkgs/oprc.yaml", "other/x.yaml", "y.yaml"} {
		wantNone(t, wakes, name+", which is not read", func() { write(t, name, "x") })
	}
}

func TestWatchDirectoryThatIsReplaced(t *testing.T) {
	tree(t, "pkgs/a.yaml")
	wakes := watch(t, "pkgs")
	must(t, os.RemoveAll("pkgs"))
	wantWake(t, wakes, "the directory went away")
	write(t, "pkgs/sub/a.yaml", "back")
	wantWake(t, wakes, "the directory came back")
	write(t, "pkgs/sub/a.yaml", "changed")
	wantWake(t, wakes, "a write in the directory that came back")
}

func TestWatchFile(t *testing.T) {
	tree(t, "a.yaml", "b.yaml")
	wakes := watch(t, "a.yaml", "-")
	wantNone(t, wakes, "a change of its neighbour", func() { write(t, "b.yaml", "x") })
	must(t, os.Rename("a.yaml", "a.yaml~"))
	write(t, "a.yaml", "written anew")
	wantWake(t, wakes, "the file was replaced")
	write(t, "a.yaml", "x")
	wantWake(t, wakes, "a write to the new file")
}

func TestWatchGlob(t *testing.T) {
	tree(t, "pkgs/a.yaml")
	wakes := watch(t, "pkgs/*.yaml")
	write(t, "pkgs/b.yaml", "x")
	wantWake(t, wakes, "a new match")
}

func TestWatchKubernetesMount(t *testing.T) {
	tree(t, "pkgs/..1/a.yaml", "pkgs/..2/a.yaml")
	must(t, os.Symlink("..1", "pkgs/..data"))
	must(t, os.Symlink("..data/a.yaml", "pkgs/a.yaml"))
	wakes := watch(t, "pkgs")
	must(t, os.Symlink("..2", "pkgs/..tmp"))
	must(t, os.Rename("pkgs/..tmp", "pkgs/..data"))
	wantWake(t, wakes, "the mount was updated")
}

// A ConfigMap may be mounted below the directory that is read, or hold the one file.
func TestWatchKubernetesMountBelow(t *testing.T) {
	for name, path := range map[string]string{"of a directory": "pkgs", "of a file": "pkgs/shop/a.yaml"} {
		tree(t, "pkgs/shop/..1/a.yaml", "pkgs/shop/..2/a.yaml")
		must(t, os.Symlink("..1", "pkgs/shop/..data"))
		must(t, os.Symlink("..data/a.yaml", "pkgs/shop/a.yaml"))
		wakes := watch(t, path)
		for _, next := range []string{"..2", "..1"} {
			must(t, os.Symlink(next, "pkgs/shop/..tmp"))
			must(t, os.Rename("pkgs/shop/..tmp", "pkgs/shop/..data"))
			wantWake(t, wakes, "the mount was updated, "+name)
		}
	}
}

// An editor that follows a link changes a file somewhere else.
func TestWatchThroughLinks(t *testing.T) {
	tree(t, "store/a.yaml", "store/b.yaml", "pkgs/.hidden/c.yaml")
	must(t, os.Symlink("store/a.yaml", "a.yaml"))
	must(t, os.Symlink(".hidden/c.yaml", "pkgs/c.yaml"))
	wakes := watch(t, "a.yaml", "pkgs")
	write(t, "store/a.yaml", "changed")
	wantWake(t, wakes, "a write through a link")
	write(t, "pkgs/.hidden/c.yaml", "changed")
	wantWake(t, wakes, "a write to a hidden file that a link leads to")
	must(t, os.Remove("a.yaml"))
	must(t, os.Symlink("store/b.yaml", "a.yaml"))
	wantWake(t, wakes, "the link leads elsewhere")
	write(t, "store/b.yaml", "changed")
	wantWake(t, wakes, "a write to where it leads now")
}

// What comes back may do so with the directories above it.
func TestWatchDirectoriesAboveThatComeBack(t *testing.T) {
	tree(t, "x/y/pkgs/a.yaml", "v/w/b.yaml")
	wakes := watch(t, "x/y/pkgs", "v/w/b.yaml")
	for _, top := range []struct{ dir, file string }{{"x", "x/y/pkgs/a.yaml"}, {"v", "v/w/b.yaml"}} {
		must(t, os.RemoveAll(top.dir))
		wantWake(t, wakes, "all of "+top.dir+" went away")
		write(t, top.file, "back")
		wantWake(t, wakes, top.file+" came back")
		write(t, top.file, "changed")
		wantWake(t, wakes, "a write to "+top.file)
	}
}

func TestWatchWakesOnceForABurst(t *testing.T) {
	tree(t, "pkgs/a.yaml")
	wakes := watch(t, "pkgs")
	began := time.Now()
	for range 50 {
		write(t, "pkgs/a.yaml", "x")
	}
	most := 3 + int(time.Since(began)/debounce) // a burst that takes long, on a busy machine, has pauses in it
	n := 0
	for quiet := time.After(time.Minute); ; {
		select {
		case <-wakes:
			n, quiet = n+1, time.After(20*debounce)
			continue
		case <-quiet:
		}
		break
	}
	if n == 0 || n > most {
		t.Errorf("got %d wakes for one burst of writes, want 1 to %d", n, most)
	}
}

func TestWatchIsNotStarvedByASteadyWriter(t *testing.T) {
	tree(t, "pkgs/a.yaml")
	wakes := watch(t, "pkgs")
	for end := time.Now().Add(time.Minute); len(wakes) == 0; time.Sleep(debounce / 4) {
		if time.Now().After(end) {
			t.Fatal("no wake while somebody keeps writing")
		}
		write(t, "pkgs/a.yaml", "x")
	}
}

// What is missing at the start is waited for: a directory, one below it, or a file.
func TestWatchWaitsForWhatIsMissing(t *testing.T) {
	for _, path := range []string{"later", "later/inner", "later/inner/*.yaml", "later/inner/a.yaml"} {
		t.Run(path, func(t *testing.T) {
			tree(t, "a.yaml")
			wakes := watch(t, path)
			write(t, "later/inner/a.yaml", "x")
			read := func() bool {
				got, err := dirsource.Read([]string{path}, nil)
				return err == nil && len(got.Files) == 1
			}
			for wantWake(t, wakes, "the path was made"); !read(); {
				wantWake(t, wakes, "the path was made in part")
			}
			write(t, "later/inner/a.yaml", "y")
			wantWake(t, wakes, "the file was changed afterwards")
		})
	}
}
