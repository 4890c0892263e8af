package oprc

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Protocol is the number of the protocol that units are written for: what a CRM finds
// in them. A unit without a number is of 1, which had functions and provision alone.
const Protocol = 2

// A DeploymentUnit is what one CRM must run for one replica of one partition of
// one class. It says everything the CRM needs; its [Digest] is the specHash.
type DeploymentUnit struct {
	Protocol       int                  `json:"protocol,omitempty"` // [Protocol] where the control plane made the unit
	ID             string               `json:"id"`
	ClsKey         string               `json:"clsKey"`
	StateType      StateType            `json:"stateType,omitempty"`
	Functions      []UnitFunction       `json:"functions"`           // sorted by key
	Bindings       []UnitBinding        `json:"bindings,omitempty"`  // sorted by name
	Macros         map[string]Macro     `json:"macros,omitempty"`    // by function key
	StateSpec      *StateSpec           `json:"stateSpec,omitempty"` // with what the class inherits, sorted by name
	PartitionInfo  PartitionInfo        `json:"partitionInfo"`
	PartitionCount int                  `json:"partitionCount,omitempty"`
	ReplicaCount   int                  `json:"replicaCount,omitempty"` // of this partition
	Peers          []UnitPeer           `json:"peers,omitempty"`        // the partition's other replicas, by replica
	TargetEnv      string               `json:"targetEnv"`
	MemberID       int                  `json:"memberId"`
	ShardID        int                  `json:"shardId"`
	Primary        bool                 `json:"primary"`
	Consistency    Consistency          `json:"consistency,omitempty"`
	Provision      map[string]Provision `json:"provision,omitempty"` // by function key
	Standby        []string             `json:"standby,omitempty"`   // bindings that are deployed passive
	ForceTemplate  string               `json:"forceTemplate,omitempty"`
	ShardType      string               `json:"shardType,omitempty"`
	Options        map[string]string    `json:"options,omitempty"`
	Requirements   *Requirements        `json:"requirements,omitempty"` // of the class
	Constraints    *Constraints         `json:"constraints,omitempty"`  // of the class
	Restarts       int                  `json:"restarts,omitempty"`     // another number: start anew what would else go on
	Kubernetes     *Kubernetes          `json:"kubernetes,omitempty"`   // of the environment
}

// A UnitFunction is a function that the unit's CRM must run; one with a StaticURL runs
// elsewhere already, has no image, and is only to be reported and called.
type UnitFunction struct {
	Key          string         `json:"key"`
	Image        string         `json:"image"`
	Config       FunctionConfig `json:"config"`
	StaticURL    string         `json:"staticUrl,omitempty"`
	Requirements *Requirements  `json:"requirements,omitempty"`
	Constraints  *Constraints   `json:"constraints,omitempty"`
}

// A UnitBinding is how a function can be called on objects of the unit's class.
type UnitBinding struct {
	Name         string            `json:"name"`
	Function     string            `json:"function"` // its key: of functions, of macros, or builtin
	Access       Access            `json:"access"`
	Immutable    bool              `json:"immutable,omitempty"`
	DefaultRoute bool              `json:"defaultRoute,omitempty"`
	Standby      bool              `json:"standby,omitempty"`   // deployed, and takes no calls
	Condition    string            `json:"condition,omitempty"` // CEL
	OutputCls    string            `json:"outputCls,omitempty"`
	DefaultArgs  map[string]string `json:"defaultArgs,omitempty"`
	NoMain       bool              `json:"noMain,omitempty"`
	NoOutput     bool              `json:"noOutput,omitempty"`
	Override     map[string]any    `json:"override,omitempty"`
}

// A UnitPeer is another replica of the unit's partition.
type UnitPeer struct {
	MemberID  int    `json:"memberId"`
	Env       string `json:"env"`
	ReplicaID int    `json:"replicaId"`
	ShardID   int    `json:"shardId"`
	Primary   bool   `json:"primary,omitempty"`
}

// PartitionInfo says which replica of which partition a unit is. Both count from 0.
type PartitionInfo struct {
	PartitionID int `json:"partitionId"`
	ReplicaID   int `json:"replicaId"`
}

// UnitID returns `<clsKey>/<partitionId>/<replicaId>@<env>`.
func UnitID(clsKey string, partition, replica int, env string) string {
	return fmt.Sprintf("%s/%d/%d@%s", clsKey, partition, replica, env)
}

// ParseUnitID is the inverse of [UnitID]; ok is false for anything else.
func ParseUnitID(id string) (clsKey string, partition, replica int, env string, ok bool) {
	rest, env, found := strings.Cut(id, "@")
	if !found || env == "" {
		return "", 0, 0, "", false
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 3 || parts[0] == "" {
		return "", 0, 0, "", false
	}
	partition, err := strconv.Atoi(parts[1])
	if err != nil || strconv.Itoa(partition) != parts[1] { // each unit has one id
		return "", 0, 0, "", false
	}
	replica, err = strconv.Atoi(parts[2])
	if err != nil || strconv.Itoa(replica) != parts[2] {
		return "", 0, 0, "", false
	}
	return parts[0], partition, replica, env, true
}

// UnitOf is what the id of a unit says of it: no functions, and no more than its class,
// partition, replica and environment. It is enough to undeploy it.
func UnitOf(id string) DeploymentUnit {
	cls, partition, replica, env, _ := ParseUnitID(id)
	return DeploymentUnit{
		ID: id, ClsKey: cls, Functions: []UnitFunction{}, TargetEnv: env,
		PartitionInfo: PartitionInfo{PartitionID: partition, ReplicaID: replica},
	}
}

// Op is what a unit's record asks of the CRM.
type Op string

// The two commands.
const (
	Deploy   Op = "deploy"
	Undeploy Op = "undeploy"
)

// A UnitRecord is the ledger's memory of the last command about a unit. It
// outlives the unit (Op undeploy) by a week, so that its generation does not go back
// while anything about it is on its way.
type UnitRecord struct {
	Unit         DeploymentUnit `json:"unit"`
	SpecHash     string         `json:"specHash"`
	Generation   int64          `json:"generation"` // counts from 1
	Op           Op             `json:"op"`
	Revision     string         `json:"revision,omitempty"` // the commit or change that asked for it
	DispatchedAt time.Time      `json:"dispatchedAt"`
}

// A UnitDigest is the part of a record that a plan compares.
type UnitDigest struct {
	Generation int64
	SpecHash   string // "" once the unit was undeployed
}

// Runs reports whether the last command asked for the unit to run.
func (d UnitDigest) Runs() bool { return d.SpecHash != "" }

// A Command tells a CRM to make one unit so. It carries the whole unit, so the
// last one wins and repeats do no harm.
type Command struct {
	Type       Op             `json:"type"`
	ID         string         `json:"id"`
	Generation int64          `json:"generation"`
	SpecHash   string         `json:"specHash"`
	Revision   string         `json:"revision,omitempty"`
	Time       time.Time      `json:"ts"`
	Unit       DeploymentUnit `json:"unit"`
	// Traceparent names the span that sent the command (W3C Trace Context); "": there is none.
	Traceparent string `json:"traceparent,omitempty"`
}
