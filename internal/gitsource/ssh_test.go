package gitsource_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/gitsource/gittest"
)

func TestSSH(t *testing.T) {
	w := newWork(t)
	w.commit("a.yaml", "name: a\n")
	other, otherFile := gittest.Key(t)
	mine, mineFile := gittest.Key(t)
	srv := gittest.ServeSSH(t, mine.PublicKey())
	empty := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := gitsource.Options{URL: srv.URL(w.Repo), SSHKeyFile: mineFile, KnownHosts: []string{srv.KnownHosts()}}
	if got := read(t, open(t, o)); got["a.yaml"] != "name: a\n" {
		t.Errorf("got %v", got)
	}

	tests := map[string]func(*gitsource.Options){
		"unknown host":       func(o *gitsource.Options) { o.KnownHosts = []string{empty} },
		"another host's key": func(o *gitsource.Options) { o.KnownHosts = []string{srv.KnownAs(other.PublicKey())} },
		"no known_hosts":     func(o *gitsource.Options) { o.KnownHosts = []string{empty + ".gone"} },
		"unknown key":        func(o *gitsource.Options) { o.SSHKeyFile = otherFile },
		"no key file":        func(o *gitsource.Options) { o.SSHKeyFile = mineFile + ".gone" },
		"no repository":      func(o *gitsource.Options) { o.URL += "/nothing" },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			o := o
			change(&o)
			if _, err := open(t, o).Poll(t.Context(), time.Now()); !errors.Is(err, gitsource.ErrUnavailable) || !strings.Contains(err.Error(), srv.Addr) {
				t.Errorf("got %v, want unavailable with %s", err, srv.Addr)
			}
		})
	}
}

func TestSSHServerThatNeverAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, key := gittest.Key(t)
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, gitsource.Options{
		URL: "ssh://git@" + l.Addr().String() + "/r.git", SSHKeyFile: key, KnownHosts: []string{known}, Timeout: 100 * time.Millisecond,
	})
	begin := time.Now()
	if _, err := s.Poll(t.Context(), time.Now()); !errors.Is(err, gitsource.ErrUnavailable) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("got %v, want unavailable: no answer in time", err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("it took %s", d)
	}
}
