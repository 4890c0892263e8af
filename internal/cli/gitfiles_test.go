package cli_test

import (
	"path/filepath"
	"strings"
	"testing"
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
