package resolve

import (
	"container/heap"
	"slices"
	"strings"
)

// A graph has numbered nodes. Who calls it numbers them in order of their keys,
// so that what it finds does not depend on the order of the input.
type graph struct{ next [][]int }

// A step is a node and the edge, by its place in the node's list, that is taken
// from there.
type step struct{ node, edge int }

// cycles calls found with each cycle that a depth-first search closes, and
// returns the nodes so that each comes after those it points at, but for the
// edges that close a cycle. Those are dropped from the graph.
func (g *graph) cycles(found func([]step)) []int {
	const (
		unseen = iota
		open
		done
	)
	state := make([]byte, len(g.next))
	order := make([]int, 0, len(g.next))
	var stack []step
	for root := range g.next {
		if state[root] != unseen {
			continue
		}
		state[root] = open
		stack = append(stack[:0], step{root, 0})
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if top.edge == len(g.next[top.node]) {
				state[top.node] = done
				order = append(order, top.node)
				stack = stack[:len(stack)-1]
				if len(stack) > 0 {
					stack[len(stack)-1].edge++
				}
				continue
			}
			switch to := g.next[top.node][top.edge]; {
			case to < 0 || state[to] == done:
				top.edge++
			case state[to] == unseen:
				state[to] = open
				stack = append(stack, step{to, 0})
			default:
				from := slices.IndexFunc(stack, func(s step) bool { return s.node == to })
				found(slices.Clone(stack[from:]))
				g.next[top.node][top.edge] = -1
				top.edge++
			}
		}
	}
	return order
}

// order lists the packages so that each comes after those it depends on, ties by
// name. Packages that depend on each other stand together: among them those that
// are required come first.
func (w *world) order() []string {
	packs := slices.Clone(w.packs[1:]) // without builtin
	slices.SortFunc(packs, func(a, b *pack) int { return strings.Compare(a.name, b.name) })
	number := make(map[string]int, len(packs))
	for i, p := range packs {
		number[p.name] = i
	}
	reads := make([][]int, len(packs))
	required := make([][]int, len(packs))
	for i, p := range packs {
		for _, name := range p.dependsOn() {
			reads[i] = append(reads[i], number[name])
		}
		for _, l := range p.required {
			if to, known := number[l.to.name]; known && to != i {
				required[i] = append(required[i], to)
			}
		}
	}
	names := make([]string, 0, len(packs))
	for _, group := range dependenciesFirst(reads) {
		for _, i := range within(group, required) {
			names = append(names, packs[i].name)
		}
	}
	return names
}

// within orders the members of a group that depend on each other by required
// alone, ties by number.
func within(group []int, required [][]int) []int {
	if len(group) == 1 {
		return group
	}
	local := make(map[int]int, len(group))
	for i, n := range group {
		local[n] = i
	}
	next := make([][]int, len(group))
	for i, n := range group {
		for _, to := range required[n] {
			if j, in := local[to]; in {
				next[i] = append(next[i], j)
			}
		}
	}
	out := make([]int, 0, len(group))
	for _, g := range dependenciesFirst(next) {
		for _, i := range g {
			out = append(out, group[i])
		}
	}
	return out
}

// dependenciesFirst groups nodes that reach each other (strongly connected), and
// orders the groups so that each comes after those it points at; of those that
// could come next the one with the smallest node does.
func dependenciesFirst(next [][]int) [][]int {
	groups, of := components(next)
	waits := make([]int, len(groups))
	blocks := make([][]int, len(groups))
	for g, nodes := range groups {
		for _, n := range nodes {
			for _, to := range next[n] {
				if to < 0 || of[to] == g {
					continue
				}
				// Edges of one group come together, so a repeat is the last.
				if b := blocks[of[to]]; len(b) == 0 || b[len(b)-1] != g {
					blocks[of[to]] = append(b, g)
					waits[g]++
				}
			}
		}
	}
	ready := &byFirst{groups: groups}
	for g := range groups {
		if waits[g] == 0 {
			heap.Push(ready, g)
		}
	}
	out := make([][]int, 0, len(groups))
	for ready.Len() > 0 {
		g := heap.Pop(ready).(int)
		out = append(out, groups[g])
		for _, b := range blocks[g] {
			if waits[b]--; waits[b] == 0 {
				heap.Push(ready, b)
			}
		}
	}
	return out
}

// byFirst is a heap of groups by their smallest node.
type byFirst struct {
	groups [][]int
	heap   []int
}

func (h *byFirst) Len() int           { return len(h.heap) }
func (h *byFirst) Less(i, j int) bool { return h.groups[h.heap[i]][0] < h.groups[h.heap[j]][0] }
func (h *byFirst) Swap(i, j int)      { h.heap[i], h.heap[j] = h.heap[j], h.heap[i] }
func (h *byFirst) Push(g any)         { h.heap = append(h.heap, g.(int)) }
func (h *byFirst) Pop() any {
	last := h.heap[len(h.heap)-1]
	h.heap = h.heap[:len(h.heap)-1]
	return last
}

// components returns the strongly connected components, each sorted, and the
// component of each node (Tarjan, without recursion).
func components(next [][]int) (groups [][]int, of []int) {
	of = slices.Repeat([]int{-1}, len(next))
	low, num := make([]int, len(next)), make([]int, len(next)) // num counts from 1
	var stack []int
	var calls []step
	count := 0
	enter := func(n int) {
		count++
		num[n], low[n] = count, count
		stack = append(stack, n)
		calls = append(calls, step{n, 0})
	}
	for root := range next {
		if num[root] != 0 {
			continue
		}
		for enter(root); len(calls) > 0; {
			top := &calls[len(calls)-1]
			n := top.node
			if top.edge < len(next[n]) {
				to := next[n][top.edge]
				top.edge++
				if to >= 0 && num[to] == 0 {
					enter(to)
				} else if to >= 0 && of[to] < 0 {
					low[n] = min(low[n], num[to])
				}
				continue
			}
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				up := calls[len(calls)-1].node
				low[up] = min(low[up], low[n])
			}
			if low[n] == num[n] {
				from := len(stack) - 1
				for stack[from] != n {
					from--
				}
				group := slices.Sorted(slices.Values(stack[from:]))
				for _, m := range group {
					of[m] = len(groups)
				}
				groups = append(groups, group)
				stack = stack[:from]
			}
		}
	}
	return groups, of
}
