package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/view"
)

// Set by the release build: -ldflags "-X github.com/oaas-platform/oprc/internal/cli.version=…".
var (
	version string
	commit  string
	date    string
)

func newVersion(e *env) *cobra.Command {
	var output view.Format
	cmd := &cobra.Command{
		Use: "version", Short: "Show which build this is",
		Long:    "Prints the version, the commit and the toolchain of this build." + exits(exitOK, exitUsage),
		Example: "  oprc version\n  oprc version -o json",
		Args:    args(cobra.NoArgs),
		RunE:    func(*cobra.Command, []string) error { return e.output(output).Version(build()) },
	}
	bindOutput(cmd, &output, view.Text, view.JSON, view.YAML)
	return cmd
}

// build is what the release build stamped, else what the toolchain did.
func build() view.Version {
	v := view.Version{
		FormatVersion: view.FormatVersion, Version: version, Commit: commit, Date: date,
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	info, ok := debug.ReadBuildInfo()
	if ok && v.Version == "" && info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	if !ok || v.Commit != "" {
		return v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Date = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}
