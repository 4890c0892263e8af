// Command oprc is the control plane of Object-as-a-Service.
package main

import (
	"os"

	"github.com/oaas-platform/oprc/internal/cli"
)

func main() { os.Exit(cli.Main()) }
