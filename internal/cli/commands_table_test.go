package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/cli"
)

// docs/commands.md, which a test at length fills by running every command, has a row for
// each, with the formats that it prints.
func TestCommandsTableIsWhole(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "commands.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		if cells := strings.Split(strings.Trim(line, "| \n"), " | "); strings.HasPrefix(line, "| `") {
			rows[strings.Trim(cells[0], "`")] = cells[1:]
		}
	}
	formats := []string{"text", "json", "yaml", "wide", "name"}
	for name, c := range cli.Commands() {
		row := rows[name]
		delete(rows, name)
		if len(row) != len(formats)+5 {
			t.Errorf("%s has the row %q", name, row)
			continue
		}
		if !c.Examples || row[len(row)-1] != "yes" {
			t.Errorf("%s: the help has no examples", name)
		}
		has := strings.Split(strings.ReplaceAll(c.Formats, " ", ""), ",")
		for i, format := range formats[1:] {
			if shown := row[1+i] != "-"; row[0] != "-" && shown != slices.Contains(has, format) {
				t.Errorf("%s: the row says %q of the format %s; it prints %s", name, row[1+i], format, c.Formats)
			}
		}
	}
	delete(rows, "oprc help") // cobra adds it when it runs
	for name := range rows {
		t.Errorf("there is no command %s", name)
	}
}
