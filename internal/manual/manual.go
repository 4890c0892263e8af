// Package manual writes the manual pages of the commands. The program does not link it:
// what turns text into pages would weigh on each of its starts.
package manual

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// Write writes a page for each command of the tree into a directory, which it makes if
// there is none. The tree is not fit for use afterwards: its texts are escaped.
func Write(root *cobra.Command, dir, version string, day time.Time) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("manual pages: %w", err)
	}
	root.DisableAutoGenTag = true
	plainStars(root)
	day = day.UTC()
	return doc.GenManTree(root, &doc.GenManHeader{Title: "OPRC", Section: "1", Source: "oprc " + version, Date: &day}, dir)
}

// plainStars keeps the stars of texts, which a manual page would take for emphasis.
func plainStars(cmd *cobra.Command) {
	keep := func(text *string) { *text = strings.ReplaceAll(*text, "*", `\*`) }
	keep(&cmd.Short)
	keep(&cmd.Long)
	each := func(f *pflag.Flag) {
		keep(&f.Usage)
		keep(&f.DefValue)
	}
	cmd.LocalNonPersistentFlags().VisitAll(each)
	cmd.PersistentFlags().VisitAll(each)
	for _, c := range cmd.Commands() {
		plainStars(c)
	}
}
