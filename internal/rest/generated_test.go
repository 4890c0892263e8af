//go:build client

package rest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A public validator takes the document; a client in TypeScript whose types are made from
// it compiles, and creates, watches, reads, changes and deletes.
func TestGeneratedClient(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/client")); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	if err := os.WriteFile(filepath.Join(dir, "openapi.json"), []byte(w.want(w.get("/openapi.json"), 200).body), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(command ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		cmd.Dir, cmd.WaitDelay = dir, time.Minute
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
		}
		return string(out)
	}
	run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
	run("node", "validate.mjs")
	run("npx", "--no", "--", "openapi-typescript", "openapi.json", "--output", "api.d.ts")
	run("npx", "--no", "--", "tsc", "--project", ".")
	if seen := run("node", "client.js", w.url); !strings.Contains(seen, "applied") || !strings.Contains(seen, "deleted") {
		t.Errorf("the client saw %s", seen)
	}
}
