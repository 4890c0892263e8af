// Man writes the manual pages of oprc into a directory, for its packages.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/oaas-platform/oprc/internal/cli"
	"github.com/oaas-platform/oprc/internal/manual"
)

func main() {
	version := flag.String("version", "dev", "`version` that the pages name")
	date := flag.Int64("date", 0, "date that they bear, in `seconds` since 1970")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "man: name the directory")
		os.Exit(2)
	}
	if err := manual.Write(cli.Root(cli.Process{}), flag.Arg(0), *version, time.Unix(*date, 0)); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}
