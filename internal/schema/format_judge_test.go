package schema_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/schema"
)

// TestFormatKeepsNeighbours formats many files that were written at random, with
// comments everywhere and fields in any order. Each comment must stay with what it
// stood by, the content must stay, and a second run must change nothing.
func TestFormatKeepsNeighbours(t *testing.T) {
	moved := 0
	for seed := range uint64(150) {
		w := &fileWriter{rand: rand.New(rand.NewPCG(seed, 17))}
		in := w.file()
		out, err := schema.Format(oprc.File{Data: []byte(in)})
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, in)
		}
		if string(out) != in {
			moved++
		}
		again, err := schema.Format(oprc.File{Data: out})
		if err != nil || string(again) != string(out) {
			t.Fatalf("seed %d: the second run changes %v\n%s", seed, err, cmp.Diff(string(out), string(again)))
		}
		sameContent(t, fmt.Sprint("seed ", seed), in, string(out))
		before, after := neighbours(in), neighbours(string(out))
		for comment, was := range before {
			now, kept := after[comment]
			switch {
			case !kept:
				t.Fatalf("seed %d: %s is lost\n%s\nbecame\n%s", seed, comment, in, out)
			case was.behind != now.behind:
				t.Fatalf("seed %d: %s stood behind %q, now %q\n%s\nbecame\n%s", seed, comment, was.behind, now.behind, in, out)
			case was.touches && was.below != now.below:
				t.Fatalf("seed %d: %s stood above %q, now above %q\n%s\nbecame\n%s", seed, comment, was.below, now.below, in, out)
			case was.below != now.below && was.above != now.above:
				t.Fatalf("seed %d: %s stood between %q and %q, now between %q and %q\n%s\nbecame\n%s", seed, comment, was.above, was.below, now.above, now.below, in, out)
			}
		}
	}
	if moved < 100 {
		t.Errorf("only %d of 150 files had anything out of order", moved)
	}
}

// sameContent compares what two files say, whatever the order of their fields.
func sameContent(t *testing.T, name, before, after string) {
	t.Helper()
	was, _ := loadOne([]byte(before), false)
	now, _ := loadOne([]byte(after), false)
	if len(was) != len(now) {
		t.Fatalf("%s: %d documents became %d\n%s\nbecame\n%s", name, len(was), len(now), before, after)
	}
	for i := range was {
		if diff := cmp.Diff(was[i].Package, now[i].Package); diff != "" {
			t.Fatalf("%s: the content changes: %s\n%s\nbecame\n%s", name, diff, before, after)
		}
	}
}

// A neighbour is what stands around a comment.
type neighbour struct {
	above, below string // the entry above, indented at most as deep, and the line below
	touches      bool   // no empty line between it and the line below, which is indented as it is
	behind       string // what stands before it on its line
}

func neighbours(text string) map[string]neighbour {
	out := map[string]neighbour{}
	lines := strings.Split(text, "\n")
	bare := func(i int) string {
		code, _, _ := strings.Cut(lines[i], " # c")
		return strings.TrimLeft(strings.TrimSpace(code), "- ")
	}
	isCode := func(i int) bool { return bare(i) != "" && !strings.HasPrefix(bare(i), "# c") }
	for i, line := range lines {
		at := strings.Index(line, "# c")
		if at < 0 {
			continue
		}
		var n neighbour
		if isCode(i) {
			n.behind = bare(i)
		} else {
			up, down := i-1, i+1
			for up >= 0 && (!isCode(up) || column(lines[up]) > at) {
				up-- // the entry that the comment follows, and not the last line of its value
			}
			n.touches = true
			for down < len(lines) && !isCode(down) {
				n.touches = n.touches && strings.TrimSpace(lines[down]) != ""
				down++
			}
			if up >= 0 {
				n.above = bare(up)
			}
			if down < len(lines) {
				n.below = bare(down)
				if strings.HasPrefix(strings.TrimSpace(lines[down]), "- ") {
					n.below = "the item with " + nameOf(lines[down:])
				}
				n.touches = n.touches && len(lines[down])-len(strings.TrimLeft(lines[down], " ")) >= at
			}
		}
		out[line[at:]] = n
	}
	return out
}

// nameOf returns the name of the item that begins on the first of lines.
func nameOf(lines []string) string {
	for _, line := range lines {
		if name, ok := strings.CutPrefix(line[column(line):], "name: "); ok && column(line) == column(lines[0]) {
			name, _, _ = strings.Cut(name, " #")
			return name
		}
	}
	return ""
}

// column is where the text of a line begins, behind the dash of an item.
func column(line string) int { return len(line) - len(strings.TrimLeft(line, "- ")) }

// A fileWriter writes package files at random.
type fileWriter struct {
	rand *rand.Rand
	out  strings.Builder
	n    int
}

func (w *fileWriter) chance(percent int) bool { return w.rand.IntN(100) < percent }

func (w *fileWriter) next() int { w.n++; return w.n }

func (w *fileWriter) file() string {
	if w.chance(10) {
		w.out.WriteString("%YAML 1.2\n---\n")
	}
	if w.chance(30) {
		fmt.Fprintf(&w.out, "# c%d about the file\n\n", w.next())
	}
	w.fields(0, false, []func(string){
		w.scalar("name", "shop"),
		w.scalar("version", `"1.0"`),
		w.list("classes", 0, func(indent int) {
			w.fields(indent, true, []func(string){
				w.scalar("name", fmt.Sprintf("class-%d", w.next())),
				w.text("description"),
				w.mapping("constraints", indent, []func(string){w.scalar("hardLatency", fmt.Sprint(w.next())), w.scalar("maxConcurrency", fmt.Sprint(w.next()))}),
				w.scalar("parents", "[builtin.base]"),
			})
		}),
		w.list("functions", 0, func(indent int) {
			w.fields(indent, true, []func(string){
				w.scalar("name", fmt.Sprintf("'fn-%d'", w.next())),
				w.text("description"),
				w.scalar("type", "LOGICAL"),
				w.scalar("immutable", "true"),
				w.mapping("requirements", indent, []func(string){w.scalar("latency", fmt.Sprint(w.next())), w.scalar("throughput", fmt.Sprint(w.next()))}),
				w.scalar("config", fmt.Sprintf("{timeout: %d, env: {A: \"#%d\"}}", w.next(), w.next())),
			})
		}),
		w.scalar("disabled", "false"),
	})
	return w.out.String()
}

func (w *fileWriter) pad(n int) string { return strings.Repeat(" ", n) }

// fields writes the fields of a mapping in any order; the first of an item stands on
// the line of its dash.
func (w *fileWriter) fields(indent int, item bool, fields []func(string)) {
	if w.chance(70) {
		w.rand.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	}
	for i, field := range fields {
		if i > 0 || !item {
			if w.chance(15) {
				w.out.WriteByte('\n')
			}
			if w.chance(30) {
				fmt.Fprintf(&w.out, "%s# c%d above\n", w.pad(indent), w.next())
				if w.chance(20) {
					w.out.WriteByte('\n')
				}
			}
			field(w.pad(indent))
		} else {
			field("")
		}
		if w.chance(15) {
			fmt.Fprintf(&w.out, "%s# c%d commented: out\n", w.pad(indent+2*w.rand.IntN(2)), w.next())
		}
	}
}

func (w *fileWriter) behind() string {
	if w.chance(20) {
		return fmt.Sprintf(" # c%d behind", w.next())
	}
	return ""
}

func (w *fileWriter) scalar(key, value string) func(string) {
	return func(pad string) { fmt.Fprintf(&w.out, "%s%s: %s%s\n", pad, key, value, w.behind()) }
}

// text writes a text in one of many styles.
func (w *fileWriter) text(key string) func(string) {
	return func(pad string) {
		n, deep := w.next(), w.pad(len(pad)+8)
		texts := []string{
			fmt.Sprintf("plain %d # c%d behind", n, w.next()),
			fmt.Sprintf("\"a #%d \\u00e9\"", n),
			fmt.Sprintf("'it''s %d # no comment'", n),
			fmt.Sprintf("|\n%s# no comment %d\n\n%s  more", deep, n, deep),
			fmt.Sprintf(">-\n%sfolded %d\n%stext", deep, n, deep),
			fmt.Sprintf("plain %d\n%sgoes on", n, deep),
			fmt.Sprintf("\"quoted %d\n%sgoes on\"", n, deep),
			fmt.Sprintf("|+\n%skept %d\n\n", deep, n),
		}
		fmt.Fprintf(&w.out, "%s%s: %s\n", pad, key, texts[w.rand.IntN(len(texts))])
	}
}

func (w *fileWriter) mapping(key string, indent int, fields []func(string)) func(string) {
	return func(pad string) {
		fmt.Fprintf(&w.out, "%s%s:%s\n", pad, key, w.behind())
		w.fields(indent+2, false, fields)
	}
}

func (w *fileWriter) list(key string, indent int, item func(indent int)) func(string) {
	return func(pad string) {
		fmt.Fprintf(&w.out, "%s%s:%s\n", pad, key, w.behind())
		if w.chance(50) {
			indent += 2
		}
		for range 1 + w.rand.IntN(3) {
			if w.chance(30) {
				fmt.Fprintf(&w.out, "%s# c%d above item\n", w.pad(indent), w.next())
			}
			fmt.Fprintf(&w.out, "%s- ", w.pad(indent))
			item(indent + 2)
			if w.chance(20) {
				fmt.Fprintf(&w.out, "%s# c%d commented out\n%s# c%d item\n\n", w.pad(indent), w.next(), w.pad(indent), w.next())
			}
		}
	}
}

// TestFormatTouchesNothingInOrder holds the first law: what is in order stays byte for
// byte.
func TestFormatTouchesNothingInOrder(t *testing.T) {
	paths, _ := filepath.Glob(filepath.Join("..", "..", "examples", "*", "*.y*ml"))
	if len(paths) == 0 {
		t.Fatal("there are no examples")
	}
	tests := map[string]string{
		"only a comment":       "# only\n",
		"nothing":              "",
		"no end of line":       "name: a",
		"directive":            "%YAML 1.2\n---\nname: a\n",
		"marks of documents":   "---\nname: a\n...\n---\n# b\nname: b\n",
		"byte order marks":     "\ufeffname: a\n---\n\ufeffname: b\n",
		"CRLF":                 "name: a\r\nclasses:\r\n- name: b # c\r\n\r\n",
		"odd spaces":           "name:   a\nclasses:\n    -   name:  b\n        parents: [ builtin.base ]\n",
		"comment ends an item": "name: a\nfunctions:\n  - name: f\n    type: LOGICAL\n  # - name: x\n  #   type: TASK\n\n  - name: g\n",
		"comments in brackets": "name: a\nclasses:\n- name: c\n  stateSpec: {keySpecs: [\n    # in brackets\n    {name: k, type: STRING},   # after k\n    {name: l, type: INTEGER}\n  ]}\n",
		"folded":               "name: a\nfunctions:\n  - name: f\n    description: >\n      one\n      two\n\n      three\n",
		"escapes":              "name: a\nfunctions:\n  - name: f\n    description: \"a #b \\u00e9\"\n",
		"explicit key":         "? name\n: a\n",
		"anchors":              "version: &v '1'\nname: a\nclasses: [{description: *v, name: c}]\n",
		"null in brackets":     "name: a\nclasses: [{name: c, parents, config: {x: , y: ~}}]\n",
		"top in brackets":      "{name: a, classes: []} # c\n",
	}
	for name, in := range tests {
		out, err := schema.Format(oprc.File{Data: []byte(in)})
		if err != nil || string(out) != in {
			t.Errorf("%s: %v %s", name, err, cmp.Diff(in, string(out)))
		}
	}
}
