package rdb

import "github.com/oaas-platform/oprc/internal/oprc"

// DispatchOnly is Dispatch without the look at the catalogue that comes before.
var DispatchOnly = (*DB).dispatch

// IndexIsOf is the look at the index before it is followed.
var IndexIsOf = (*DB).indexIsOf

// What decodes entries, and what writes them.
var (
	ParseReport   = parseReport
	ReportFields  = reportFields
	DecodeCommand = decodeCommand
	ParseDead     = parseDead
	Letter        = letter
	ParseUnits    = parseUnits
	ParseRuntime  = parseRuntime
	SortedBeats   = sortedBeats
	DecodeEvents  = decodeEvents
)

// DecodeRecords and DecodeStatuses read documents of hashes.
var (
	DecodeRecords  = decodeAll[oprc.UnitRecord]
	DecodeStatuses = decodeStatuses
)

// AuditEvery is the pause between two looks at slices of records.
const AuditEvery = auditEvery
