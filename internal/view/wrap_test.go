package view_test

import (
	"testing"

	"github.com/oaas-platform/oprc/internal/view"
)

func TestWrap(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"what fits":             {"a line\n  of two\n", "a line\n  of two\n"},
		"at spaces":             {"12:00:00  cart RUNNING in edge, core\n", "12:00:00  cart\n    RUNNING in edge,\n    core\n"},
		"indented":              {"  = hint: did you mean name?", "  = hint: did you\n      mean name?"},
		"colour has no width":   {"\x1b[1mcart\x1b[m is \x1b[32mRUNNING\x1b[m now", "\x1b[1mcart\x1b[m is \x1b[32mRUNNING\x1b[m now"},
		"a word of any width":   {"at http://127.0.0.1:8080/ui/units", "at\n    http://127.0.0.1:8080/ui/units"},
		"exactly as wide":       {"12345678 1234567890 1", "12345678 1234567890\n    1"},
		"columns of wide runes": {"状態 状態 状態 状態 状態", "状態 状態 状態 状態\n    状態"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := view.Wrap(test.text, 20); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
	if got := view.Wrap("as it is, where there is no terminal", 0); got != "as it is, where there is no terminal" {
		t.Error(got)
	}
}
