package console

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A mapPage is the topology: classes as rows, environments as columns.
type mapPage struct {
	Environments []envCard
	Rows         []mapRow
	Pager        pager
	Conditions   []tally
	Filters      []filter
	Blocks       []block // of all classes, from afar
	Near, Far    string  // addresses of the two ways to look
}

// A mapRow is a class with its replicas in each environment.
type mapRow struct {
	reconcile.ClassTopology
	Cells []mapCell
}

// A mapCell is what a class has in one environment. Few replicas are drawn one by one,
// many are counted.
type mapCell struct {
	Env, Title  string
	Marks       []mark
	Width       int
	More        int
	Class, Link string
}

// A mark is one replica: a square whose colour and shape say its condition, with a dot in
// it for the primary.
type mark struct {
	X             int
	Tone          string
	Primary, Gone bool
	Drift         bool
}

const (
	drawn  = 8 // replicas in one cell
	pitch  = 14
	square = 11
)

func (s *server) topology(v *visit) error {
	q := v.r.URL.Query()
	asked := window(q, "package", "class", "env", "condition", "unwell")
	asked.Del("sort")
	far := q.Get("zoom") == "out"
	if far {
		asked.Set("limit", most)
		asked.Del("offset")
	}
	var found classes
	if err := v.get("/topology", asked, &found); err != nil {
		return err
	}
	p := mapPage{Pager: paged(v.r.URL, found.Offset, len(found.Items), found.Total)}
	q.Del("offset")
	q.Del("zoom")
	p.Near = "/ui/topology?" + q.Encode()
	q.Set("zoom", "out")
	p.Far = "/ui/topology?" + q.Encode()
	p.Conditions, _ = tallies(found.Conditions)
	for _, name := range []string{"class", "package", "env", "condition"} {
		p.Filters = append(p.Filters, filter{name, q.Get(name)})
	}
	envs, err := objects[reconcile.EnvironmentView](v, "environments", url.Values{"limit": {most}})
	if err != nil {
		return err
	}
	for _, o := range envs.Items {
		p.Environments = append(p.Environments, cardOf(o.Doc, v.now))
	}
	if far {
		p.Blocks = blocksOf(found.Items, p.Environments, p.Near)
		return v.render(http.StatusOK, "topology", "topology", "Topology", p)
	}
	for _, c := range found.Items {
		row := mapRow{ClassTopology: c}
		for _, e := range p.Environments {
			row.Cells = append(row.Cells, cellOf(c, e.Name))
		}
		p.Rows = append(p.Rows, row)
	}
	return v.render(http.StatusOK, "topology", "topology", "Topology", p)
}

// cellOf draws the replicas of a class in one environment.
func cellOf(c reconcile.ClassTopology, env string) mapCell {
	cell := mapCell{Env: env, Class: c.Class}
	var words []string
	for _, r := range c.Replicas {
		if r.Env != env {
			continue
		}
		cell.Link = pathOf("units", r.Unit)
		if len(cell.Marks) == drawn {
			cell.More++
			continue
		}
		words = append(words, worded(r))
		cell.Marks = append(cell.Marks, mark{
			X: len(cell.Marks) * pitch, Tone: tone(string(r.Condition)), Primary: r.Primary, Gone: r.Leaving, Drift: r.Drift,
		})
	}
	if len(cell.Marks)+cell.More > 1 {
		cell.Link = "/ui/units?" + url.Values{"class": {c.Class}, "env": {env}}.Encode()
	}
	if cell.More > 0 {
		words = append(words, fmt.Sprintf("and %d more", cell.More))
	}
	cell.Width = len(cell.Marks)*pitch - (pitch - square)
	cell.Title = c.Class + " in " + env + ": " + strings.Join(words, "; ")
	if c.Condition == oprc.Down && c.ErrorMsg != "" {
		cell.Title += ". " + c.ErrorMsg
	}
	return cell
}

// worded is a replica in words.
func worded(r reconcile.Replica) string {
	w := fmt.Sprintf("partition %d replica %d %s", r.Partition, r.Replica, r.Condition)
	if r.Primary {
		w += ", primary"
	}
	switch {
	case r.Leaving:
		w += ", is to go"
	case r.Drift:
		w += ", runs another spec"
	case !r.Settled:
		w += ", waits for a report"
	}
	return w
}

// A block is a page of classes from afar: a column for each environment, a line for each
// class, a patch where it has replicas, in the colour of the worst of them.
type block struct {
	Href, Title   string
	Width, Height int
	Patches       []patches
}

// patches are all of one colour.
type patches struct{ Tone, Path string }

const (
	patchWidth  = 9
	patchHeight = 5
)

func blocksOf(all []reconcile.ClassTopology, envs []envCard, near string) []block {
	column := map[string]int{}
	for i, e := range envs {
		column[e.Name] = i
	}
	var out []block
	for first := 0; first < len(all); first += pageSize {
		some := all[first:min(len(all), first+pageSize)]
		b := block{
			Href: near + "&offset=" + strconv.Itoa(first), Title: some[0].Class + " to " + some[len(some)-1].Class,
			Width: max(1, len(envs)) * patchWidth, Height: len(some) * patchHeight,
		}
		paths := map[string]*strings.Builder{}
		for row, c := range some {
			for env, t := range worstTones(c) {
				if paths[t] == nil {
					paths[t] = &strings.Builder{}
				}
				fmt.Fprintf(paths[t], "M%d %dh8v4h-8z", column[env]*patchWidth, row*patchHeight)
			}
		}
		for _, t := range slices.Sorted(maps.Keys(paths)) {
			b.Patches = append(b.Patches, patches{t, paths[t].String()})
		}
		out = append(out, b)
	}
	return out
}

// worstTones is the colour of the worst replica of a class in each of its environments.
func worstTones(c reconcile.ClassTopology) map[string]string {
	worst := map[string]oprc.Condition{}
	for _, r := range c.Replicas {
		worst[r.Env] = reconcile.Worst(worst[r.Env], r.Condition)
	}
	out := make(map[string]string, len(worst))
	for env, c := range worst {
		out[env] = tone(string(c))
	}
	return out
}
