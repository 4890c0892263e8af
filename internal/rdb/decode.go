package rdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// What a report may hold at most; more is refused before it is parsed.
const (
	maxReport  = 1 << 20 // bytes, all fields together
	maxMessage = 16 << 10
	maxList    = 10_000
)

// A report's fields are named as in oprc.Report. Unknown ones are ignored: newer
// CRMs may say more.

// parseReport reads a report that a CRM of env sent. Its error is the reason why
// it cannot be used, in words for the CRM's author.
func parseReport(env string, f map[string]string) (oprc.Report, error) {
	size := 0
	for k, v := range f {
		size += len(k) + len(v)
		if !utf8.ValidString(v) {
			return oprc.Report{}, fmt.Errorf("%s: not UTF-8", k)
		}
	}
	if size > maxReport {
		return oprc.Report{}, fmt.Errorf("%d bytes, more than the %d that a report may have", size, maxReport)
	}
	r := oprc.Report{Type: f["type"], CRM: f["crm"]}
	if r.CRM == "" || len(r.CRM) > oprc.MaxNameLen {
		return oprc.Report{}, fmt.Errorf("crm: %q is no name", clip(r.CRM))
	}
	var err error
	if r.Time, err = parseTime(f["ts"]); err != nil {
		return oprc.Report{}, fmt.Errorf("ts: %w", err)
	}
	switch r.Type {
	case oprc.ReportStatus:
		err = parseStatus(&r, env, f)
	case oprc.ReportHeartbeat:
		err = parseHeartbeat(&r, f)
	default:
		err = fmt.Errorf("type: %q is neither %s nor %s", clip(r.Type), oprc.ReportStatus, oprc.ReportHeartbeat)
	}
	if err != nil {
		return oprc.Report{}, err
	}
	return r, nil
}

// parseTime reads a time that can also be written: its year in UTC has four digits.
func parseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if t = t.UTC(); err != nil || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, fmt.Errorf("%q is no RFC 3339 time", clip(text))
	}
	return t, nil
}

func parseStatus(r *oprc.Report, env string, f map[string]string) error {
	r.ID, r.SpecHash, r.ErrorMsg = f["id"], f["specHash"], f["errorMsg"]
	r.Condition = oprc.Condition(f["condition"])
	if parent := f["traceparent"]; len(parent) <= oprc.MaxNameLen { // it is of no consequence but for traces
		r.Traceparent = parent
	}
	_, _, _, of, ok := oprc.ParseUnitID(r.ID)
	var err error
	switch {
	case !ok:
		return fmt.Errorf("id: %q is no unit id", clip(r.ID))
	case of != env:
		return fmt.Errorf("id: unit %s is not of environment %s", clip(r.ID), env)
	case !known(r.Condition):
		return fmt.Errorf("condition: %q is none of PENDING, DEPLOYING, RUNNING, DOWN, DELETED", clip(f["condition"]))
	case r.SpecHash == "" && r.Condition != oprc.Deleted:
		return errors.New("specHash: missing; echo the command's")
	case len(r.SpecHash) > oprc.MaxNameLen:
		return errors.New("specHash: too long")
	case len(r.ErrorMsg) > maxMessage:
		return fmt.Errorf("errorMsg: more than %d bytes", maxMessage)
	}
	if r.Generation, err = strconv.ParseInt(f["generation"], 10, 64); err != nil || r.Generation < 1 || r.Generation >= 1<<53 {
		return fmt.Errorf("generation: %q is no generation", clip(f["generation"]))
	}
	if err := list(f, "functions", &r.Functions); err != nil {
		return err
	}
	for key, fn := range r.Functions {
		if !known(fn.Condition) {
			return fmt.Errorf("functions: %s: condition %q is unknown", clip(key), clip(string(fn.Condition)))
		}
	}
	if err := list(f, "replicas", &r.Replicas); err != nil {
		return err
	}
	if len(r.Replicas)+len(r.Functions) > maxList {
		return fmt.Errorf("more than %d replicas and functions", maxList)
	}
	return nil
}

func parseHeartbeat(r *oprc.Report, f map[string]string) error {
	if a := f["availability"]; a != "" {
		v, err := strconv.ParseFloat(a, 64)
		if err != nil || !(v >= 0 && v <= 1) { //nolint:staticcheck // NaN is neither
			return fmt.Errorf("availability: %q is not between 0 and 1", clip(a))
		}
		r.Availability = v
	}
	if err := list(f, "capacity", &r.Capacity); err != nil {
		return err
	}
	if r.Capacity != nil && r.Capacity.Units != nil && *r.Capacity.Units < 0 {
		return fmt.Errorf("capacity: %d units are less than none", *r.Capacity.Units)
	}
	return list(f, "templates", &r.Templates)
}

// list decodes a field that holds JSON; absent and empty mean nothing.
func list(f map[string]string, name string, into any) error {
	if f[name] == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(f[name]), into); err != nil {
		return fmt.Errorf("%s: %s", name, clip(err.Error()))
	}
	return nil
}

func known(c oprc.Condition) bool {
	return slices.Contains([]oprc.Condition{oprc.Pending, oprc.Deploying, oprc.Running, oprc.Down, oprc.Deleted}, c)
}

// clip shortens what goes into a message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
