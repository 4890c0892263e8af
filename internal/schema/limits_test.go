package schema_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

func TestLimits(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	deepBlock := &strings.Builder{}
	for i := range 200 {
		fmt.Fprintf(deepBlock, "%sa:\n", strings.Repeat(" ", i))
	}
	nested := func(open, end string, n int) string {
		return "name: a\nclasses: [{name: c, config: {x: " + strings.Repeat(open, n) + strings.Repeat(end, n) + "}}]\n"
	}
	tests := map[string]struct {
		data string
		code oprc.Code
		at   string
	}{
		"alias bomb":             {"name: a\n" + bomb, oprc.CodeLimits, ""},
		"alias of itself":        {"name: a\nclasses: &x [*x]\n", oprc.CodeLimits, "2:14"},
		"17 MiB":                 {"name: a\n" + strings.Repeat("# comment\n", 17<<20/10), oprc.CodeLimits, "1:1"},
		"flow nesting":           {"name: a\nx: " + strings.Repeat("[", 1<<20), oprc.CodeLimits, ""},
		"mapping nesting":        {"name: a\nx: " + strings.Repeat("{a: ", 1<<18), oprc.CodeLimits, ""},
		"block nesting":          {deepBlock.String(), oprc.CodeLimits, ""},
		"dash nesting":           {strings.Repeat("- ", 1<<16), oprc.CodeLimits, ""},
		"nesting of 129":         {nested("[", "]", 125), oprc.CodeLimits, ""},
		"NUL":                    {"name: a\nversion: \x00\n", oprc.CodeSyntax, "2:10"},
		"not UTF-8":              {"name: ü\nversion: \xff\n", oprc.CodeSyntax, "2:10"},
		"UTF-16":                 {"\xff\xfen\x00a\x00", oprc.CodeSyntax, "1:1"},
		"control character":      {"name: a\nversion: \x01\n", oprc.CodeSyntax, "2:10"},
		"tab":                    {"name: a\nclasses:\n\t- name: c\n", oprc.CodeSyntax, "3:1"},
		"JSON cut short":         {`{"name": "a", "classes": [`, oprc.CodeSyntax, ""},
		"merge of a text":        {"name: a\n<<: b\n", oprc.CodeType, "2:5"},
		"two merges":             {"name: a\nfunctions:\n- &b {name: f}\n- <<: *b\n  <<: *b\n  name: g\n", oprc.CodeDuplicate, "5:3"},
		"second document broken": {"name: a\n---\nname: b: c\n", oprc.CodeSyntax, "3:7"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			loadOne([]byte("name: a"), false) // the definitions are read once
			data := []byte(tt.data)
			found, took, spent := measure(data)
			for range 4 { // a busy machine may be slow now and then
				_, again, _ := measure(data)
				took = min(took, again)
			}
			if len(found) != 1 || found[0].Code != tt.code {
				t.Fatalf("got %v, want one %s", found, tt.code)
			}
			if pos := fmt.Sprintf("%d:%d", found[0].Line, found[0].Column); tt.at != "" && pos != tt.at || found[0].Line < 1 {
				t.Errorf("got position %s, want %s: %s", pos, tt.at, found[0])
			}
			if took > 100*time.Millisecond {
				t.Errorf("took %v", took)
			}
			if spent > 100<<20 {
				t.Errorf("allocated %d MiB", spent>>20)
			}
		})
	}
}

// measure loads data and says how long that took and how much it allocated.
func measure(data []byte) (oprc.Diagnostics, time.Duration, uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	_, found := loadOne(data, false)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return found, took, after.TotalAlloc - before.TotalAlloc
}

// TestFindingsAreCapped makes far more mistakes than anybody reads.
func TestFindingsAreCapped(t *testing.T) {
	data := &strings.Builder{}
	data.WriteString("name: a\n")
	for i := range 20_000 {
		fmt.Fprintf(data, "unknown%d: x\n", i)
	}
	_, found := loadOne([]byte(data.String()), false)
	if n := len(found); n != 1001 || found[n-1].Code != oprc.CodeLimits {
		t.Errorf("got %d findings, want 1000 and one that says that there are more", n)
	}
}

// TestNestingAllowed nests as deep as is allowed.
func TestNestingAllowed(t *testing.T) {
	n := 128 - 4 // document, classes, class, config
	data := "name: a\nclasses: [{name: c, config: {x: " + strings.Repeat("[", n) + strings.Repeat("]", n) + "}}]\n"
	if _, found := loadOne([]byte(data), false); len(found) > 0 {
		t.Error(found)
	}
}
