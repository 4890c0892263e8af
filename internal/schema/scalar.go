package schema

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
)

const (
	tagNull  = "!!null"
	tagBool  = "!!bool"
	tagInt   = "!!int"
	tagFloat = "!!float"
	tagStr   = "!!str"
	tagTime  = "!!timestamp"
	tagMerge = "!!merge"
	tagMap   = "!!map"

	// tagInvalid marks a value that was reported: the decoder passes over it, so
	// that nobody complains about it again.
	tagInvalid = "!invalid"
)

const quotedStyle = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle

// isText reports whether a scalar is text as written: quoted, or plain and
// nothing else. Dates are text: the model has no dates in files.
func isText(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.Tag == tagStr || n.Tag == tagTime || n.Tag == tagMerge)
}

// isBare reports whether a scalar is a number or a boolean, which people write
// where text is meant.
func isBare(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.Tag == tagInt || n.Tag == tagFloat || n.Tag == tagBool)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == tagNull }

// maxExact is the largest whole number up to which JSON numbers are exact
// everywhere (RFC 8785, I-JSON).
const maxExact = 1<<53 - 1

// inexact reports whether a node is a whole number beyond what JSON numbers can hold
// exactly.
func inexact(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode || n.Tag != tagInt {
		return n.Kind == yaml.ScalarNode && n.Tag == tagFloat && manyDigits().MatchString(n.Value)
	}
	if n.Value == "-0" {
		return false
	}
	var i int64
	return n.Decode(&i) != nil || i > maxExact || i < -maxExact
}

// manyDigits are whole numbers that the parser reads as fractions for their length.
var manyDigits = lazyregexp.New(`^[-+]?[1-9][0-9_]*$`)

// decimals are numbers with a fraction or an exponent. The parser takes those that are
// too large for text.
var decimals = lazyregexp.New(`^[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+)([eE][-+]?[0-9]+)?$`)

// lossy reports whether a node is a decimal number that JSON readers, which have
// doubles, would take for another one: it is none exactly, and the nearest one written
// with as many digits is not it.
func lossy(n *yaml.Node) bool {
	const block = yaml.LiteralStyle | yaml.FoldedStyle
	plain := n.Kind == yaml.ScalarNode && n.Style&(quotedStyle|block) == 0
	if !plain || n.Tag != tagFloat && (n.Tag != tagStr || !strings.ContainsAny(n.Value, "eE")) {
		return false
	}
	text := strings.ReplaceAll(n.Value, "_", "")
	if !decimals().MatchString(text) {
		return false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return true
	}
	mantissa, _, _ := strings.Cut(strings.ToLower(text), "e")
	digits := len(strings.Trim(strings.Replace(strings.TrimLeft(mantissa, "+-"), ".", "", 1), "0"))
	if digits == 0 || digits > mostDigits {
		return digits > 0
	}
	meant, ok := new(big.Rat).SetString(text)
	if !ok || new(big.Rat).SetFloat64(f).Cmp(meant) == 0 {
		return !ok
	}
	written, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'e', min(digits, 17)-1, 64))
	return written.Cmp(meant) != 0
}

// mostDigits is about how many significant digits the longest double has, written in full.
const mostDigits = 800

// oddNumber are spellings that one reader takes for octal, binary or grouped digits
// and another for decimal digits or text.
var oddNumber = lazyregexp.New(`^[-+]?(0[0-9]|0[bo]|[0-9]+_)`)

// integer reads a whole number that fits an int.
func integer(n *yaml.Node) (int, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != tagInt && n.Value != "-0" || n.Style&quotedStyle != 0 {
		return 0, false
	}
	if n.Value == "-0" {
		return 0, true
	}
	if i, err := strconv.Atoi(n.Value); err == nil && strconv.Itoa(i) == n.Value {
		return i, true
	}
	var i int64
	if err := n.Decode(&i); err != nil || int64(int(i)) != i {
		return 0, false
	}
	return int(i), true
}

// float reads a finite number.
func float(n *yaml.Node) (float64, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != tagInt && n.Tag != tagFloat {
		return 0, false
	}
	if i, ok := integer(n); ok {
		return float64(i), true
	}
	if strings.Trim(n.Value, "+-0123456789_") == "" {
		return 0, false // a whole number that no int holds
	}
	var f float64
	if err := n.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, false
	}
	return f, true
}

func boolean(n *yaml.Node) (value, ok bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != tagBool {
		return false, false
	}
	return n.Value == "true" || n.Value == "True" || n.Value == "TRUE", true
}

// got names what stands in a file, for the second half of a sentence.
func got(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case isNull(n):
		return "nothing"
	case isText(n) && n.Value == "":
		return "an empty text"
	case isText(n):
		return fmt.Sprintf("the text %q", shorten(n.Value))
	case isBare(n):
		return shorten(n.Value)
	}
	return fmt.Sprintf("a value with the tag %s", n.Tag)
}

func shorten(s string) string {
	const most = 40
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}
