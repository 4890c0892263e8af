package oprc

import "time"

// Condition is a state of a unit, function or deployment, in one word.
type Condition string

// The conditions of the specification.
const (
	Pending   Condition = "PENDING"
	Deploying Condition = "DEPLOYING"
	Running   Condition = "RUNNING"
	Down      Condition = "DOWN"
	Deleted   Condition = "DELETED"
)

// The report types.
const (
	ReportStatus    = "status"
	ReportHeartbeat = "heartbeat"
)

// A Report is a CRM's message: the status of one unit, or a heartbeat.
type Report struct {
	Type string    `json:"type"`
	CRM  string    `json:"crm"`
	Time time.Time `json:"ts"` // the CRM's clock: shown, never compared across CRMs

	// status
	ID         string                    `json:"id,omitempty"`
	Generation int64                     `json:"generation,omitempty"`
	SpecHash   string                    `json:"specHash,omitempty"`
	Condition  Condition                 `json:"condition,omitempty"`
	ErrorMsg   string                    `json:"errorMsg,omitempty"`
	Functions  map[string]FunctionStatus `json:"functions,omitempty"` // by function key
	Replicas   []string                  `json:"replicas,omitempty"`  // names of the processes or pods that serve
	// Traceparent is that of the command which the report answers, or "".
	Traceparent string `json:"traceparent,omitempty"`

	// heartbeat
	Availability float64   `json:"availability,omitempty"`
	Capacity     *Capacity `json:"capacity,omitempty"`
	Templates    []string  `json:"templates,omitempty"`
}

// A FunctionStatus is how one function of a unit is doing.
type FunctionStatus struct {
	Condition     Condition `json:"condition"`
	InvocationURL string    `json:"invocationUrl,omitempty"`
	ErrorMsg      string    `json:"errorMsg,omitempty"`
}

// A Status is what the reports on a unit add up to. The zero Status means that
// nothing was ever heard.
type Status struct {
	Generation int64                     `json:"generation"` // observed
	SpecHash   string                    `json:"specHash"`   // echoed by the CRM; another than the record's is drift
	Condition  Condition                 `json:"condition"`
	ErrorMsg   string                    `json:"errorMsg,omitempty"`
	Functions  map[string]FunctionStatus `json:"functions,omitempty"`
	Replicas   []string                  `json:"replicas,omitempty"`
	CRM        string                    `json:"crm"`
	Time       time.Time                 `json:"ts"`
	ReportID   string                    `json:"reportId,omitempty"` // stream id of the last report folded in
}

// RuntimeStatus is the state of a class in one environment.
type RuntimeStatus string

// The runtime states of the specification.
const (
	RuntimeRunning RuntimeStatus = "RUNNING"
	RuntimeDown    RuntimeStatus = "DOWN"
	RuntimeScaling RuntimeStatus = "SCALING"
)

// A ClassRuntime (OClassRuntime) is a class as it runs in one environment.
type ClassRuntime struct {
	Key        string             `json:"_key"` // <clsKey>@<env>
	ClsKey     string             `json:"clsKey"`
	Env        string             `json:"env"`
	Partitions []RuntimePartition `json:"partitions"` // sorted by id
	Status     RuntimeStatus      `json:"status"`
	LastUpdate time.Time          `json:"lastUpdate"`
}

// A RuntimePartition names what serves one partition.
type RuntimePartition struct {
	ID       int       `json:"id"`
	Replicas []string  `json:"replicas"`
	Time     time.Time `json:"ts,omitzero"` // of the last update: last writer wins
}

// A ReportEntry is a report as it stands in a stream. Err is set, and Report
// empty, when the entry could not be understood.
type ReportEntry struct {
	ID     string // stream id: the server's clock, which decides order within a generation
	Report Report
	Err    error
	Raw    map[string]string
}

// A DeadEntry is a stream entry that could not be used, and why.
type DeadEntry struct {
	ID        string            `json:"id"`
	Env       string            `json:"env"`
	Stream    string            `json:"stream"` // commands or reports
	Entry     string            `json:"entry"`  // id that it had there
	Reason    string            `json:"reason"`
	By        string            `json:"by,omitempty"` // CRM or group that gave up
	Time      time.Time         `json:"ts"`
	Fields    map[string]string `json:"fields,omitempty"`
	Truncated bool              `json:"truncated,omitempty"` // Fields is not all of it: it cannot be retried
}
