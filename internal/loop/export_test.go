package loop

import "context"

// Meet is one look at the other daemons.
func Meet(l *Loop, ctx context.Context) { l.meet(ctx) }
