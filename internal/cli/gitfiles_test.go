package cli_test

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// What a source lacks stops the start, by name, before anything is connected to.
func TestServeRefusesASourceThatCannotWork(t *testing.T) {
	for name, tc := range map[string]struct{ source, want string }{
		"variable not set":       {"{name: main, url: 'https://git.example/x', tokenEnv: NOT_THERE}", "tokenEnv: the environment variable NOT_THERE is not set"},
		"no certificates":        {"{name: main, url: 'https://git.example/x', caFile: nowhere.pem}", "caFile: open nowhere.pem"},
		"a directory has no ref": {"{name: main, url: DIR, ref: main}", "ref: only a Git repository takes it"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			file := u.file("oprc.yaml", "port: 0\nsources:\n- "+strings.ReplaceAll(tc.source, "DIR", filepath.ToSlash(u.home))+"\n")
			got := u.run("serve", "--config", file, "--redis", "redis://127.0.0.1:1")
			if got.code != 1 || !strings.Contains(got.err, tc.want) || !strings.Contains(got.err, "source main") {
				t.Errorf("got %+v, want exit 1 and %q", got, tc.want)
			}
		})
	}
}

// A private repository behind a certificate of one's own: the file's authority is
// trusted, the variable's token is sent, and neither is ever printed.
func TestServeShowsItsTokenToTheRepository(t *testing.T) {
	shown := make(chan string, 100)
	forge := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		shown <- user + ":" + password + " " + r.URL.Path
		http.Error(w, "closed", http.StatusForbidden)
	}))
	t.Cleanup(forge.Close)
	u := newUser(t)
	ca := u.file("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: forge.Certificate().Raw})))
	file := u.file("oprc.yaml", "port: 0\nsources:\n- {name: main, url: "+forge.URL+"/acme/x.git, tokenEnv: TOKEN, caFile: "+ca+"}\n")
	u.env = []string{"TOKEN=t0ken"}

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	served, redis := make(chan result, 1), "redis://"+miniredis.RunT(t).Addr()
	go func() { served <- u.runContext(ctx, "", "serve", "--config", file, "--redis", redis) }()
	select {
	case got := <-shown:
		if want := "oauth2:t0ken /acme/x.git/info/refs"; got != want {
			t.Errorf("the repository was asked by %q, want %q", got, want)
		}
	case <-ctx.Done():
		t.Error("the repository was not asked")
	}
	cancel()
	if got := <-served; strings.Contains(got.out+got.err, "t0ken") {
		t.Errorf("the token is told: %+v", got)
	}
}
