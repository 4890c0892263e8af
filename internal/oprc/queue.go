package oprc

import "time"

// A CommandQueue says how far the commands of an environment have come, as Redis sees it.
type CommandQueue struct {
	Waiting map[string]int64       // by unit: the highest generation that no CRM has read
	Held    map[string]HeldCommand // by unit: what a CRM has read and not acknowledged
	Groups  []string               // that read the commands besides the CRMs' own
	Partial bool                   // there are more than were looked at
}

// A HeldCommand is in the hands of a CRM.
type HeldCommand struct {
	Generation int64
	CRM        string
	Idle       time.Duration // since the CRM touched it
}
