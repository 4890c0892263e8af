package schema

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A path leads from the top of a document to one of its nodes, in canonical
// spelling. It is only written out when there is something to say.
type path struct {
	up    *path
	name  string // of a field, or
	index int    // of a list item
	key   *yaml.Node
}

func (p *path) field(name string, key *yaml.Node) *path { return &path{up: p, name: name, key: key} }
func (p *path) item(i int) *path                        { return &path{up: p, index: i} }

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// pointer returns the JSON pointer of the node.
func (p *path) pointer() string {
	if p == nil {
		return ""
	}
	return p.up.pointer() + "/" + p.token()
}

func (p *path) token() string {
	if p.isItem() {
		return strconv.Itoa(p.index)
	}
	return pointerEscape.Replace(p.name)
}

func (p *path) isItem() bool { return p.key == nil && p.name == "" }

// dotted is the path of a field as `oprc explain` takes it: classes.functions.
func (p *path) dotted() string {
	switch {
	case p == nil:
		return ""
	case p.isItem():
		return p.up.dotted()
	case p.up == nil:
		return p.name
	}
	return p.up.dotted() + "." + p.name
}

// label names the node in a sentence: `access`, `parents[0]`.
func (p *path) label() string {
	if p == nil {
		return "the document"
	}
	suffix := ""
	for ; p != nil && p.isItem(); p = p.up {
		suffix = "[" + strconv.Itoa(p.index) + "]" + suffix
	}
	if p == nil {
		return "`" + suffix + "`"
	}
	return "`" + p.name + suffix + "`"
}

// step starts a sentence about something inside a macro's step: "steps[2]: ".
func (p *path) step() string {
	for ; p != nil; p = p.up {
		if p.isItem() && p.up != nil && p.up.name == "steps" {
			return "steps[" + strconv.Itoa(p.index) + "]: "
		}
	}
	return ""
}

// anchor is the token to point at when something is missing in n: its key, or
// its first token where it has none.
func (p *path) anchor(n *yaml.Node) *yaml.Node {
	if p != nil && p.key != nil {
		return p.key
	}
	return n
}
