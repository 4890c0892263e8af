//go:build unix

package dirsource_test

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/oaas-platform/oprc/internal/dirsource"
)

// One file that cannot be read does not keep ReadAll from the others.
func TestReadAllGoesOn(t *testing.T) {
	tree(t, "pkgs/a.yaml", "pkgs/b.yaml")
	write(t, "pkgs/b.yaml", "x")
	if err := os.Chmod("pkgs/b.yaml", 0); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // root can read everything
		if err := syscall.Seteuid(65534); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = syscall.Seteuid(0) }()
	}
	read, err := dirsource.ReadAll([]string{"pkgs"}, nil)
	files := read.Files
	if err != nil || len(files) != 2 || files[0].Data == nil {
		t.Fatalf("got %v, %v", files, err)
	}
	if _, err := files[1].Content(); !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v, want that it is not permitted", err)
	}
	if _, err := dirsource.Read([]string{"pkgs"}, nil); !errors.Is(err, os.ErrPermission) {
		t.Errorf("Read: got %v, want that it is not permitted", err)
	}
}
