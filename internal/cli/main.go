// Package cli holds the commands, configuration and wiring of oprc.
package cli

// Main runs the command line and returns the exit code.
func Main() int { return 0 }
