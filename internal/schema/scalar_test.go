package schema_test

import "testing"

// A number that a double holds, however it is written, is read; one that would become
// another number is not.
func TestNumbersKeepTheirValue(t *testing.T) {
	tests := map[string]bool{
		"0.1": false, "1.10": false, "1e21": false, "1E5": false, "5.": false, ".5": false, "0e-99999999": false, "0.0": false,
		"0.30000000000000004": false, "0.10000000000000001": false, // 17 digits, as printf("%.17g") writes 0.1
		"9.31322574615478515625e-10": false, // 2^-30
		"4.9e-324":                   false, "1.7976931348623157e308": false, "100000000000000000000.0": false,
		"-1.5": false, "+1.5": false, "1_000.5": false, "1.2.3": false, "1e": false, "e5": false, "abc": false, "'1e400'": false,

		"0.10000000000000000555": true, "1.2345678901234567891": true, "123456789.123456789123": true, "9007199254740993.0": true,
		"9007199254740993e0": true, "9.007199254740993e15": true, "1e400": true, "-1e400": true, "1e-400": true, "1e-99999999": true, "0.99999999999999999999": true,
	}
	for text, want := range tests {
		_, found := loadOne([]byte("name: a\nclasses: [{name: c, config: {v: "+text+"}}]\n"), false)
		if got := found.Err() != nil; got != want {
			t.Errorf("%s: got %v, want an error: %t", text, found, want)
		}
	}
}
