package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/schema"
)

// loadJSON reads a JSON value as a setting that is handed on as it is.
func loadJSON(value string) (any, oprc.Diagnostics) {
	docs, found := schema.Load([]oprc.File{{Path: "p.json", Data: []byte(`{"name":"a","classes":[{"name":"c","config":{"x":` + value + `}}]}`)}}, false, "")
	if len(docs) == 0 || docs[0].Package == nil || len(docs[0].Package.Classes) == 0 {
		return nil, found
	}
	return docs[0].Package.Classes[0].Config["x"], found
}

// The kinds of texts that a JSON parser must refuse, one or more of each.
func TestJSONIsStrict(t *testing.T) {
	tests := map[string]string{ // value: part of the message or hint
		`[1 2]`: "`,` or `]`", `[1,]`: "remove the comma", `[,1]`: "a value", `[1,,2]`: "a value", `[""`: "", `["a" "b"]`: "missing comma", `[1}`: "`,` or `]`",
		`{"a" 1}`: "after the key", `{"a":1,}`: "remove the comma", `{a:1}`: `write it in double quotes: \"a\"`, `{'a':1}`: "double quotes", `{1:1}`: "a key in double quotes", `{"a":1 "b":2}`: "missing comma",
		`{"a":}`: "a value", `{"a"}`: "after the key", `{,}`: "a key",
		`010`: "leading zero", `-010`: "leading zero", `1.`: "not a number", `.5`: "write a digit first", `+1`: "write a digit first", `0x1F`: "not a number", `1e`: "not a number", `1e+`: "not a number", `-`: "not a number", `--1`: "not a number",
		`1_000`: "not a number", `1,5`: "", `1e999`: "too large", `-1e999`: "too large", `NaN`: "finite numbers", `Infinity`: "finite numbers", `-Infinity`: "not a number", `1a`: "not a number",
		`True`: "write true", `FALSE`: "write false", `None`: "write null", `nul`: "double quotes", `truex`: "double quotes", `undefined`: "write null", `text`: `write it in double quotes: \"text\"`,
		`'text'`: "use double quotes", "\"a\nb\"": "not closed on its line", "\"a\tb\"": `\u0009`, `"\x41"`: "unknown in JSON", `"\u12"`: "unknown in JSON", `"\'"`: "unknown in JSON", `"\`: "", `"\ud800"`: "half of a pair", `"\udc00\ud800"`: "half of a pair", `"\ud800x"`: "half of a pair",
		"\"\x00\"": "NUL", "\"\xff\"": "UTF-8", "\"\xed\xa0\x80\"": "UTF-8",
		`1 // one`: "name the file *.yaml", `/* one */ 1`: "name the file *.yaml", `1 # one`: "name the file *.yaml", "\u00a01": "no-break space", "\ufeff1": "byte order mark", "1\f": "",
		`*a`: "a value", `&a 1`: "a value", `!!str 1`: "a value", `1} {`: "", `1}]}]}{}`: "", `[1]]`: "", strings.Repeat("[", 200): "nests deeper",
	}
	for value, want := range tests {
		_, found := loadJSON(value)
		if len(found) != 1 || found[0].Code != oprc.CodeSyntax && found[0].Code != oprc.CodeLimits {
			t.Errorf("%q: got %v, want one finding of the syntax", value, found)
			continue
		}
		if d := found[0]; !strings.Contains(fmt.Sprintf("%s %q", d.Message, d.Hint), want) || d.Line < 1 || d.Column < 1 {
			t.Errorf("%q: got %+v, want %q in it", value, d, want)
		}
	}
}

// The kinds of texts that a JSON parser must accept, and what they mean.
func TestJSONIsRead(t *testing.T) {
	tests := map[string]any{
		`0`: 0.0, `-0`: 0.0, `-1`: -1.0, `1.5`: 1.5, `1E3`: 1000.0, `1e-2`: .01, `1.0`: 1.0, `9007199254740991`: 9007199254740991.0, `true`: true, `null`: nil,
		`"010"`: "010", `"1e999"`: "1e999", `"yes"`: "yes", `"\u00e9\n\/"`: "é\n/", `"\ud83d\ude00"`: "😀", `"\u0000"`: "\x00", "\"\x7f\"": "\x7f", "\"\u2028\"": "\u2028", `"a # b"`: "a # b", `"\uffff"`: "\uffff", "\t\r\n 1 ": 1.0,
	}
	for value, want := range tests {
		got, found := loadJSON(value)
		if got != want || found.Err() != nil {
			t.Errorf("%s: got %#v and %v, want %#v", value, got, found, want)
		}
	}
	for _, value := range []string{`[]`, `{}`, `[[]]`, `{"":{"a":[1,{"b":null}]}}`, `[ 1 , 2 ]`} {
		if _, found := loadJSON(value); found.Err() != nil {
			t.Errorf("%s: got %v", value, found)
		}
	}
	if docs, found := schema.Load([]oprc.File{{Path: "p.json", Data: []byte("\ufeff{\"name\": \"a\"}\n")}}, false, ""); len(docs) != 1 || len(found) > 0 {
		t.Errorf("a byte order mark: got %v", found)
	}
}

// Findings in JSON point at their token; columns are counted in characters.
func TestJSONPositions(t *testing.T) {
	data := "{\n\t\"name\": \"a\", \"versiom\": \"é\", \"x\u00e9\": 1,\r\n  \"classes\": [{\"name\": \"c\", \"name\": \"d\"}]\n}"
	_, found := schema.Load([]oprc.File{{Path: "p.json", Data: []byte(data)}}, false, "")
	var got []string
	for _, d := range found {
		got = append(got, fmt.Sprintf("%s %d:%d", d.Code, d.Line, d.Column))
	}
	if want := "[E002 2:15 E002 2:31 E004 3:29]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestJSONIsFormatted(t *testing.T) {
	in := "{\n  \"deployments\": [{\"targetEnvs\": [\"e\"], \"cls\": \".c\"}],\n  \"name\": \"a\\u00e9\"\n}\n"
	want := "{\n  \"name\": \"a\\u00e9\",\n  \"deployments\": [{\"_key\": \".c\", \"targetEnvs\": [\"e\"]}]\n}\n"
	out, err := schema.Format(oprc.File{Path: "p.json", Data: []byte(in)})
	if err != nil || string(out) != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, out, want)
	}
	c := schema.Convert([]oprc.File{{Path: "p.json", Data: []byte(`{"name":"p","classes":[{"key":"c","function_bindings":[],"state_spec":{"consistency_model":"STRONG"}}]}`)}})[0]
	if want := `{"name":"p","classes":[{"name":"c","constraints": {"consistency": "STRONG"},"functions":[]}]}`; c.Err != nil || string(c.Data) != want {
		t.Errorf("got %v\n%s\nwant\n%s", c.Err, c.Data, want)
	}
}
