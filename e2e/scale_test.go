//go:build endurance

package e2e_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/gitsource/gittest"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// A file of 100 MB that is no package costs no memory, one of 17 MB that ends in .yaml
// is named and not read.
func TestHugeFilesInARepository(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	for name, size := range map[string]int{"huge.bin": 100 << 20, "huge.yaml": 17 << 20} {
		noise := make([]byte, size)
		if _, err := rand.Read(noise); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.repo.Dir, name), noise, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := h.d.peakMemory()
	h.repo.Commit("huge")
	s := h.d.ready("main", "False InvalidPackages", "E021")
	if !slices.Contains(s.Notes, "huge.yaml: is too large to be read") {
		t.Errorf("notes: %q", s.Notes)
	}
	after := h.d.peakMemory()
	t.Logf("memory at its peak: %d MiB before, %d MiB after", before, after)
	if after > before+250 {
		t.Errorf("a file of 100 MB that nobody reads took %d MiB", after-before)
	}
	h.recovers()
}

// A commit that changes five thousand packages goes out whole, in bounded memory.
func TestFiveThousandChangedPackages(t *testing.T) {
	t.Parallel()
	const packages = 5000
	store := rdbtest.Start(t, "")
	repo := gittest.New(t)
	repo.Write("edge.yaml", "kind: Environment\nname: edge\n")
	write := func(version int) string {
		for i := range packages {
			repo.Write(fmt.Sprintf("p%04d.yaml", i), numbered(i, version))
		}
		return repo.Commit(fmt.Sprint("version ", version))
	}
	first := write(1)
	d := serve(t, fmt.Sprintf("redis: {url: %q}\nsources: [{name: main, url: %q, interval: 1s}]\n", store.URL(), repo.Serve(t).URL))
	c := chaosClient(t, store.URL())
	d.ready("main", "True "+first)
	before := d.peakMemory()
	second := write(2)
	began := time.Now()
	d.ready("main", "True "+second)
	took := time.Since(began)
	within(t, patience, "all commands are queued", func() string {
		if n := c.XInfoStream(t.Context(), commandsOfEdge).Val().EntriesAdded; n != 2*packages {
			return fmt.Sprintf("%d commands", n)
		}
		return ""
	})
	if n := c.HLen(t.Context(), "oaas_pm:{env:edge}:units").Val(); n != packages {
		t.Errorf("%d units", n)
	}
	after := d.peakMemory()
	t.Logf("%d packages changed and dispatched after %s; memory at its peak: %d MiB before, %d MiB after", packages, took.Round(time.Millisecond), before, after)
	if after > 1024 {
		t.Errorf("the daemon took %d MiB", after)
	}
}

// peakMemory is the most that the daemon's process ever had resident, in MiB.
func (d *daemonProcess) peakMemory() int {
	d.t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	kib, err := strconv.Atoi(regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindStringSubmatch(string(data))[1])
	if err != nil {
		d.t.Fatal(err)
	}
	return kib >> 10
}
