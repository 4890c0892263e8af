package schema

import (
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// keptTrees is how many documents keep their positions in memory. Positions are
// asked for in bursts, document by document, and a tree costs ten times its file.
const keptTrees = 32

// recentTrees holds the positions of the documents that were asked for last; the
// others are read again when somebody asks.
type recentTrees struct {
	loader Loader
	mu     sync.Mutex
	byDoc  map[docID]*positions
	order  []docID
}

// A docID names a document: a path, and the line that it starts on.
type docID struct {
	path string
	data *byte // tells two files of one path apart
	line int
}

// locator answers for the document that starts on a line of a section of f. It is
// safe for concurrent use.
func (r *recentTrees) locator(f oprc.File, part section, line int) oprc.Locator {
	id := docID{path: f.Path, line: line}
	if len(f.Data) > 0 {
		id.data = &f.Data[0]
	}
	return func(pointer string) oprc.Position {
		r.mu.Lock()
		defer r.mu.Unlock()
		p := r.byDoc[id]
		if p == nil {
			p = r.read(f, part, line)
			r.keep(id, p)
		}
		return p.at(pointer)
	}
}

func (r *recentTrees) keep(id docID, p *positions) {
	if r.byDoc == nil {
		r.byDoc = map[docID]*positions{}
	}
	if len(r.order) >= keptTrees {
		delete(r.byDoc, r.order[0])
		r.order = r.order[1:]
	}
	r.byDoc[id] = p
	r.order = append(r.order, id)
}

func (r *recentTrees) read(f oprc.File, part section, line int) *positions {
	p := &positions{file: f.Path, line: part.line, nodes: map[string]oprc.Position{}}
	var err error
	if f.Data, err = f.Content(); err != nil {
		return p // it changed, or is gone: what is known is the file
	}
	roots, _ := parse(part.of(f))
	for _, root := range roots {
		if part.line+root.Line != line {
			continue
		}
		c := &checker{model: model(), file: f.Path, strict: r.loader.Strict, quiet: true}
		r.loader.normalise(c, root)
		p.add("", root, nil)
	}
	return p
}

// positions are those of the nodes of one document, by JSON pointer.
type positions struct {
	file  string
	line  int // lines before the text that was parsed
	nodes map[string]oprc.Position
	keys  map[string]oprc.Position
}

// add records n and what is below it. A scalar, a list item and anything in flow
// style is found at its own token, a block under a key at that key.
func (p *positions) add(pointer string, n, key *yaml.Node) {
	at := n
	block := n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode
	if key != nil && (block && n.Style&yaml.FlowStyle == 0 || isNull(n)) {
		at = key
	}
	p.nodes[pointer] = oprc.Position{File: p.file, Line: p.line + at.Line, Column: at.Column}
	if key != nil && block {
		if p.keys == nil {
			p.keys = map[string]oprc.Position{}
		}
		p.keys[pointer] = oprc.Position{File: p.file, Line: p.line + key.Line, Column: key.Column}
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			k := n.Content[i]
			p.add(pointer+"/"+pointerEscape.Replace(k.Value), n.Content[i+1], k)
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			p.add(pointer+"/"+strconv.Itoa(i), item, nil)
		}
	}
}

// at finds the node of a pointer, or else the key of its nearest ancestor.
func (p *positions) at(pointer string) oprc.Position {
	if pos, ok := p.nodes[pointer]; ok {
		return pos
	}
	for i := strings.LastIndexByte(pointer, '/'); i >= 0; i = strings.LastIndexByte(pointer, '/') {
		pointer = pointer[:i]
		if pos, ok := p.keys[pointer]; ok {
			return pos
		}
		if pos, ok := p.nodes[pointer]; ok {
			return pos
		}
	}
	return oprc.Position{File: p.file}
}
