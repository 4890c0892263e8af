package gitsource

// Cause is what a user reads of an error, and whether somebody has to act.
func Cause(err error) (text string, lasting bool) { return cause(err) }
