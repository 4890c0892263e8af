package cli

import (
	"os"
	"runtime"
	"runtime/debug"
)

// delayFirstCollection lets the heap grow to 16 MB, not 4, before it is collected for the
// first time. Initialization alone fills three; a short command then ends before the
// collector starts, and any other runs as it would have from there on.
func delayFirstCollection() {
	if _, ok := os.LookupEnv("GOGC"); ok {
		return
	}
	debug.SetGCPercent(400)
	type mark struct{ _ [2]*int } // with a pointer: others never share its block
	runtime.AddCleanup(new(mark), func(percent int) { debug.SetGCPercent(percent) }, 100)
}
