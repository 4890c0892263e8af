package view

import (
	_ "embed"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A CodeDoc explains a code of findings, with an example that is found fault with
// and one that is not.
type CodeDoc struct {
	Code   oprc.Code `json:"code" yaml:"code"`
	Title  string    `json:"title" yaml:"title"`
	Means  string    `json:"means" yaml:"means"`
	Fix    string    `json:"fix" yaml:"fix"`
	First  string    `json:"first,omitempty" yaml:"first"`   // applied before
	Policy string    `json:"policy,omitempty" yaml:"policy"` // in force
	// Directory means that the example is found in a directory, and not named itself.
	Directory bool   `json:"directory,omitempty" yaml:"directory"`
	Fails     string `json:"fails" yaml:"fails"`
	Passes    string `json:"passes" yaml:"passes"`
}

//go:embed codes.yaml
var codesYAML []byte

// Codes explains all codes, in order.
var Codes = sync.OnceValue(func() []CodeDoc {
	var docs []CodeDoc
	if err := yaml.Unmarshal(codesYAML, &docs); err != nil {
		panic(err) // the file is compiled in, and read by a test
	}
	return docs
})

// Code prints what a code means.
func (o Output) Code(d CodeDoc) error {
	if o.Format == JSON || o.Format == YAML {
		return o.Document(struct {
			FormatVersion string `json:"formatVersion"`
			CodeDoc
		}{FormatVersion, d})
	}
	var b strings.Builder
	b.WriteString(bold(string(d.Code)+" "+d.Title) + "\n\n" + wrap(d.Means, 90) + "\n\n" + wrap(d.Fix, 90) + "\n")
	for _, part := range [][2]string{
		{"After this was applied:", d.First},
		{"Under this policy:", d.Policy},
		{"This gives " + string(d.Code) + ":", d.Fails},
		{"This does not:", d.Passes},
	} {
		if part[1] != "" {
			b.WriteString("\n" + bold(part[0]) + "\n\n" + indent(part[1]) + "\n")
		}
	}
	return o.print(strings.TrimRight(b.String(), "\n") + "\n")
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}
