package oprc

import (
	"fmt"
	"strings"
	"time"
)

// A DeploymentUnit is what one CRM must run for one replica of one partition of
// one class. It says everything the CRM needs; its [Digest] is the specHash.
type DeploymentUnit struct {
	ID            string               `json:"id"`
	ClsKey        string               `json:"clsKey"`
	Functions     []UnitFunction       `json:"functions"` // sorted by key
	PartitionInfo PartitionInfo        `json:"partitionInfo"`
	TargetEnv     string               `json:"targetEnv"`
	MemberID      int                  `json:"memberId"`
	ShardID       int                  `json:"shardId"`
	Primary       bool                 `json:"primary"`
	Provision     map[string]Provision `json:"provision,omitempty"` // by function key
	Standby       []string             `json:"standby,omitempty"`   // bindings that are deployed passive
	ForceTemplate string               `json:"forceTemplate,omitempty"`
	ShardType     string               `json:"shardType,omitempty"`
	Options       map[string]string    `json:"options,omitempty"`
	Requirements  *Requirements        `json:"requirements,omitempty"`
	Constraints   *Constraints         `json:"constraints,omitempty"`
}

// A UnitFunction is a function that the unit's CRM must run.
type UnitFunction struct {
	Key    string         `json:"key"`
	Image  string         `json:"image"`
	Config FunctionConfig `json:"config"`
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
	if _, err := fmt.Sscanf(parts[1]+" "+parts[2], "%d %d", &partition, &replica); err != nil {
		return "", 0, 0, "", false
	}
	if UnitID(parts[0], partition, replica, env) != id {
		return "", 0, 0, "", false
	}
	return parts[0], partition, replica, env, true
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
}
