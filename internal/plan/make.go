package plan

// Make decides what must change so that the live state becomes what the
// documents ask for, inside the scope. Same input, same bytes.
func Make(in Input) *Plan { panic("skeleton") }
