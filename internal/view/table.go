package view

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
)

// A table prints aligned columns without borders. Cells may be styled.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// render indents every line and pads every column but the last.
func (t *table) render(indent string) string {
	lines := t.rows
	if len(t.header) > 0 {
		head := make([]string, len(t.header))
		for i, h := range t.header {
			head[i] = bold(h)
		}
		lines = append([][]string{head}, t.rows...)
	}
	widths := widthsOf(lines)
	var b strings.Builder
	for _, cells := range lines {
		b.WriteString(strings.TrimRight(indent+align(cells, widths), " ") + "\n")
	}
	return b.String()
}

func widthsOf(lines [][]string) []int {
	var widths []int
	for _, cells := range lines {
		for i, c := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], lipgloss.Width(c))
		}
	}
	return widths
}

// fit shortens the cells of a column, as far as its header, by what lines are longer
// than a terminal of so many columns.
func (t *table) fit(column string, terminal int, shorten func(cell string, width int) string) {
	at := slices.Index(t.header, column)
	if at < 0 || terminal <= 0 {
		return
	}
	widths := widthsOf(append([][]string{t.header}, t.rows...))
	over := -terminal - gap
	for _, w := range widths {
		over += w + gap
	}
	width := max(widths[at]-over, len(column))
	for _, cells := range t.rows {
		if over > 0 && lipgloss.Width(cells[at]) > width {
			cells[at] = shorten(cells[at], width)
		}
	}
}

// firstFew shortens a list to the names that fit, and how many more there are.
func firstFew(list string, width int) string {
	names := strings.Split(list, ",")
	for n := len(names) - 1; n > 0; n-- {
		if few := fmt.Sprintf("%s +%d more", strings.Join(names[:n], ","), len(names)-n); lipgloss.Width(few) <= width {
			return few
		}
	}
	if len(names) == 1 {
		return list
	}
	return strconv.Itoa(len(names)) + " of them"
}

// gap is the space between two columns.
const gap = 3

// align pads every cell but the last.
func align(cells []string, widths []int) string {
	var line strings.Builder
	for i, c := range cells {
		line.WriteString(c)
		if i < len(cells)-1 {
			line.WriteString(strings.Repeat(" ", widths[i]-lipgloss.Width(c)+gap))
		}
	}
	return line.String()
}

// dash stands for an empty cell.
func dash(s string) string {
	if s = clean(s); s == "" {
		return "-"
	}
	return s
}

// age is the time since t, in its largest unit or two.
func (o Output) age(t time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case o.Now.IsZero():
		return t.UTC().Format(time.RFC3339)
	}
	d := max(o.Now.Sub(t), 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// count is "1 file", "2 files".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	switch {
	case strings.HasSuffix(noun, "s"):
		return fmt.Sprintf("%d %ses", n, noun)
	case strings.HasSuffix(noun, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(noun, "y"))
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// shortDigest abbreviates "sha256:hex" and commits for people.
func shortDigest(d string) string {
	if hex, ok := strings.CutPrefix(d, "sha256:"); ok {
		return hex[:min(12, len(hex))]
	}
	return clean(d[:min(12, len(d))])
}
