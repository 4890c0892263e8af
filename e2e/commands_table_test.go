//go:build endurance

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// A tried command is a row of docs/commands.md: a command line that works on the world of
// TestCommandsTable, and one with a name that does not exist.
type tried struct {
	line   string
	wrong  string
	before string // prepares each run of line
	local  bool   // it reads no state
}

// {x} stands for the file x.yaml, or for a plan. Commands that run until they are
// stopped are not here: their rows hold what their help says alone.
var triedCommands = map[string]tried{
	"init":              {line: "init fresh", local: true},
	"validate":          {line: "validate -f {shop}", wrong: "validate -f nosuch.yaml", local: true},
	"plan":              {line: "plan -f {shop}", wrong: "plan -f nosuch.yaml"},
	"show":              {line: "show {plan}", wrong: "show nosuch", local: true},
	"apply":             {line: "apply -f {shop}", wrong: "apply -f nosuch.yaml"},
	"delete":            {line: "delete package gone --yes", wrong: "delete package nosuch --yes", before: "apply -f {gone}"},
	"undo":              {line: "undo two --yes", wrong: "undo nosuch --yes", before: "apply -f {two}"},
	"rollout restart":   {line: "rollout restart shop.cart", wrong: "rollout restart nosuch"},
	"adopt":             {line: "adopt sourced --by files", wrong: "adopt nosuch --by files", before: "apply -f {sourced} --take-ownership"},
	"env create":        {line: "env create edge --availability 0.9"},
	"env list":          {line: "env list"},
	"env describe":      {line: "env describe edge", wrong: "env describe nosuch"},
	"env delete":        {line: "env delete spare --yes", wrong: "env delete nosuch --yes", before: "env create spare"},
	"env acl":           {line: "env acl edge", local: true},
	"dead list":         {line: "dead list edge", wrong: "dead list nosuch"},
	"dead retry":        {line: "dead retry edge --all", wrong: "dead retry nosuch --all"},
	"dead drop":         {line: "dead drop edge --all --yes", wrong: "dead drop nosuch --all --yes"},
	"get":               {line: "get packages", wrong: "get packages nosuch"},
	"status":            {line: "status shop", wrong: "status nosuch"},
	"describe":          {line: "describe package shop", wrong: "describe package nosuch"},
	"tree":              {line: "tree shop", wrong: "tree nosuch"},
	"history":           {line: "history shop", wrong: "history nosuch"},
	"blame":             {line: "blame package shop", wrong: "blame package nosuch"},
	"events":            {line: "events"},
	"why":               {line: "why package shop", wrong: "why package nosuch"},
	"diff":              {line: "diff two --from 1 --to 2", wrong: "diff nosuch --from 1 --to 2"},
	"snapshot":          {line: "snapshot --out -"},
	"export":            {line: "export shop", wrong: "export nosuch"},
	"invoke":            {line: "invoke shop.cart add", wrong: "invoke nosuch add"},
	"logs":              {line: "logs shop.cart", wrong: "logs nosuch"},
	"source list":       {line: "source list"},
	"source reconcile":  {line: "source reconcile files", wrong: "source reconcile nosuch"},
	"source suspend":    {line: "source suspend files --reason test", wrong: "source suspend nosuch --reason test"},
	"source resume":     {line: "source resume files", wrong: "source resume nosuch"},
	"source approve":    {wrong: "source approve nosuch"},
	"token create":      {line: "token create ci --role viewer", before: "token revoke ci"},
	"token list":        {line: "token list"},
	"token revoke":      {line: "token revoke old", wrong: "token revoke nosuch", before: "token create old --role viewer"},
	"auth whoami":       {line: "auth whoami"},
	"auth can-i":        {line: "auth can-i get packages", wrong: "auth can-i"},
	"explain":           {line: "explain name", wrong: "explain nosuch", local: true},
	"explain placement": {line: "explain placement shop.cart", wrong: "explain placement nosuch"},
	"fmt":               {line: "fmt --check {shop}", wrong: "fmt nosuch.yaml", local: true},
	"convert":           {line: "convert {shop}", wrong: "convert nosuch.yaml", local: true},
	"schema export":     {line: "schema export", local: true},
	"context list":      {line: "context list", local: true},
	"context set":       {line: "context set prod --server http://127.0.0.1:1", local: true},
	"context use":       {line: "context use prod", wrong: "context use nosuch", before: "context set prod --server http://127.0.0.1:1", local: true},
	"context delete":    {line: "context delete old", wrong: "context delete nosuch", before: "context set old --server http://127.0.0.1:1", local: true},
	"doctor":            {line: "doctor"},
	"completion":        {line: "completion bash", wrong: "completion nosuch", local: true},
	"version":           {line: "version", local: true},
	"help":              {line: "help apply", wrong: "help nosuch", local: true},
}

// Those that run until they are stopped, or against a program of the user's.
var untriedCommands = []string{"crm run", "crm test", "dev", "serve"}

const tableHead = `# Every command, in every format and place

` + "`yes`" + `: it was run and ended with 0. A number: it ended with that [exit code](README.md#exit-codes). ` + "`-`" + `: there is no such format, place or name.
Each command was run in each format in each place: the embedded state, a Redis, and a daemon (` + "`--server`" + `) without tokens whose source was a directory. Where a format does not
end alike everywhere, its cell has all three in this order. Wrong names were tried with the Redis. This file is written by
` + "`go test -tags endurance ./e2e -run TestCommandsTable -update`" + `.

| command | text | json | yaml | wide | name | embedded | redis | server | a wrong name | examples in help |
|---|---|---|---|---|---|---|---|---|---|---|
`

// TestCommandsTable fills docs/commands.md by running each command in each format and
// each place; with -update it writes the file.
func TestCommandsTable(t *testing.T) {
	w := newTableWorld(t)
	var names []string
	for name := range triedCommands {
		names = append(names, name)
	}
	names = append(names, untriedCommands...)
	slices.Sort(names)
	var b strings.Builder
	b.WriteString(tableHead)
	for _, name := range names {
		fmt.Fprintf(&b, "| `oprc %s` | %s |\n", name, strings.Join(w.row(name), " | "))
	}
	path := filepath.Join("..", "docs", "commands.md")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("docs/commands.md is not what was seen:\n%s", diff)
	}
}

// A tableWorld has the same packages in each place.
type tableWorld struct {
	t      *testing.T
	files  map[string]string
	places map[string][]string // variables that choose the place
	home   map[string]string
}

func newTableWorld(t *testing.T) *tableWorld {
	redis := rdbtest.Server(t)
	dir, source := t.TempDir(), t.TempDir()
	deployed := func(name, image string) string {
		return fmt.Sprintf("name: %s\nclasses:\n- name: cart\n  functions:\n  - name: add\n    function: .add\nfunctions:\n- name: add\n  provision: {knative: {image: %s}}\ndeployments:\n- {_key: .cart, targetEnvs: [edge]}\n", name, image)
	}
	sourced := write(t, source, "sourced.yaml", "name: sourced\n")
	w := &tableWorld{t: t, home: map[string]string{"embedded": t.TempDir(), "redis": t.TempDir(), "server": t.TempDir()}}
	w.files = map[string]string{
		"{shop}": write(t, dir, "shop.yaml", deployed("shop", "x:1")), "{gone}": write(t, dir, "gone.yaml", "name: gone\n"), "{sourced}": sourced,
		"{one}": write(t, dir, "one.yaml", deployed("two", "x:1")), "{two}": write(t, dir, "two.yaml", deployed("two", "x:2")), "{plan}": filepath.Join(dir, "next.plan"),
	}
	d := serve(t, fmt.Sprintf("redis: {url: %q}\nsources: [{name: files, url: %q, interval: 1h}]\n", redis, source))
	w.places = map[string][]string{"embedded": nil, "redis": {"--redis", redis}, "server": {"--server", "http://" + d.addr}}
	for _, place := range []string{"embedded", "redis"} {
		for _, line := range []string{"env create edge --availability 0.9", "apply -f {shop} -f {one}", "apply -f {two}", "plan -f {shop} --out {plan}"} {
			if out, code := w.run(place, line); code != 0 {
				t.Fatalf("%s: %s: exit %d\n%s", place, line, code, out)
			}
		}
	}
	return w
}

// run runs a command line in a place, in a directory of its own.
func (w *tableWorld) run(place, line string) (string, int) {
	words := strings.Fields(line)
	for i, word := range words {
		if file := w.files[word]; file != "" {
			words[i] = file
		}
	}
	if words[0] != "context" {
		words = append(words, w.places[place]...)
	}
	cmd := exec.CommandContext(w.t.Context(), filepath.Join(bin, program), words...)
	cmd.Dir, cmd.Env = w.t.TempDir(), append(emptyHome(w.home[place]), "PATH="+os.Getenv("PATH"))
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	code := cmd.ProcessState.ExitCode()
	if err != nil && errs.Len() == 0 && out.Len() == 0 {
		w.t.Errorf("%s: %s ends with %d and says nothing", place, line, code)
	}
	if strings.Contains(errs.String(), "panic:") {
		w.t.Errorf("%s: %s\n%s", place, line, errs.String())
	}
	if code != 0 {
		w.t.Logf("%s: %s: exit %d: %s", place, line, code, errs.String())
	}
	return out.String(), code
}

var outputFlag = regexp.MustCompile(`(?m)-o, --output \S+ +(.*?)(?: \(.*)?$`)

var places = []string{"embedded", "redis", "server"}

// row tries a command in each format in each place, and with a wrong name.
func (w *tableWorld) row(name string) []string {
	help, _ := w.run("embedded", name+" --help")
	var formats []string
	if m := outputFlag.FindStringSubmatch(help); m != nil {
		formats = strings.Split(m[1], ", ")
	}
	c, isTried := triedCommands[name]
	var row []string
	for _, format := range []string{"text", "json", "yaml", "wide", "name"} {
		switch has := slices.Contains(formats, format); {
		case !isTried || !has && (format != "text" || len(formats) > 0):
			row = append(row, "-")
		default:
			cells := w.tryEverywhere(c, format, has)
			if !slices.ContainsFunc(cells, func(cell string) bool { return cell != cells[0] }) {
				cells = cells[:1]
			}
			row = append(row, strings.Join(cells, " "))
		}
	}
	if !isTried || c.local {
		row = append(row, "-", "-", "-")
	} else {
		row = append(row, w.tryEverywhere(c, "text", false)...)
	}
	wrong := "-"
	if c.wrong != "" {
		_, code := w.run("redis", c.wrong)
		if wrong = cell(code); code == 0 || code == 1 {
			w.t.Errorf("%s ends with %d", c.wrong, code)
		}
	}
	examples := "-"
	if strings.Contains(help, "\nExamples:\n") {
		examples = "yes"
	}
	return append(row, wrong, examples)
}

// tryEverywhere runs a command in each place, one that reads no state only once.
func (w *tableWorld) tryEverywhere(c tried, format string, named bool) (cells []string) {
	for _, place := range places {
		if c.local && place != "redis" {
			continue
		}
		if c.line == "" {
			cells = append(cells, "-")
			continue
		}
		if c.before != "" {
			w.run(place, c.before)
		}
		line := c.line
		if named {
			line += " -o " + format
		}
		out, code := w.run(place, line)
		if named && code == 0 {
			w.parse(line, format, out)
		}
		cells = append(cells, cell(code))
	}
	return cells
}

func cell(code int) string {
	if code == 0 {
		return "yes"
	}
	return fmt.Sprint(code)
}

// parse expects a machine's format to be one document of it.
func (w *tableWorld) parse(line, format, out string) {
	var doc any
	var err error
	switch format {
	case "json":
		err = json.Unmarshal([]byte(out), &doc)
	case "yaml":
		err = yaml.Unmarshal([]byte(out), &doc)
	}
	if err != nil {
		w.t.Errorf("%s: %v:\n%s", line, err, out)
	}
}
