package view

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// row returns the cells of an object, those of the wide listing included.
func (o Output) row(obj reconcile.Object) []string {
	switch d := obj.Doc.(type) {
	case *reconcile.PackageView:
		return []string{
			clean(d.Name), rev(d.Rev), condition(d.Condition), strconv.Itoa(len(d.Spec.Classes)), strconv.Itoa(len(d.Spec.Functions)),
			strconv.Itoa(len(d.Spec.Deployments)), dash(d.Origin), o.age(d.AppliedAt),
			dash(d.Spec.Version), dash(d.AppliedBy), source(d.Source), shortDigest(d.Digest),
		}
	case *reconcile.ClassView:
		return classRow(d)
	case *reconcile.FunctionView:
		return []string{
			clean(d.Key), dash(string(d.Type)), dash(string(d.State)), condition(d.Status.Condition), dash(d.Provision.Image()),
			rev(d.Rev), dash(firstOf(d.Status.InvocationURL, d.Config.StaticURL)), dash(d.Status.ErrorMsg),
		}
	case *reconcile.DeploymentView:
		return []string{
			clean(d.Key), condition(d.Condition), fmt.Sprintf("%d/%d", d.Running, d.Units), strconv.Itoa(d.PartitionCount),
			strconv.Itoa(d.ReplicaCount), dash(strings.Join(d.TargetEnvs, ",")),
			rev(d.Rev), dash(d.ShardType), yes(d.Drift), shortDigest(d.SpecHash), dash(d.ErrorMsg),
		}
	case *reconcile.UnitView:
		return o.unitRow(d)
	case *oprc.ClassRuntime:
		return []string{clean(d.Key), condition(d.Status), strconv.Itoa(len(d.Partitions)), o.age(d.LastUpdate), replicas(d.Partitions)}
	case *reconcile.EnvironmentView:
		health := condition(d.Health)
		if d.Unreadable != "" {
			health = clean("UNREADABLE: " + d.Unreadable)
		}
		return []string{
			clean(d.Name), yes(d.Spec.Default), health, fraction(d.Availability), strconv.Itoa(len(d.Beats)), strconv.Itoa(d.Units),
			capacity(d.Spec.Capacity, d.MaxUnits()), dash(d.Origin), rev(d.Rev), labels(d.Spec.Labels), dash(strings.Join(d.Spec.Templates, ",")),
		}
	case *reconcile.CRMView:
		return []string{
			clean(d.CRM), clean(d.Env), condition(strconv.FormatBool(d.Alive)), fraction(d.Availability), o.age(d.Time),
			capacity(d.Capacity, nil), dash(strings.Join(d.Templates, ",")), o.age(d.Since),
		}
	case *oprc.SourceStatus:
		return o.sourceRow(d)
	}
	return append([]string{clean(obj.Key)}, slices.Repeat([]string{"-"}, 16)...)
}

func classRow(d *reconcile.ClassView) []string {
	bindings := len(d.Functions)
	if d.Resolved != nil {
		bindings = len(d.Resolved.Functions)
	}
	consistency, availability := "", 0.0
	if d.Constraints != nil {
		consistency = string(d.Constraints.Consistency)
	}
	if d.Requirements != nil {
		availability = d.Requirements.Availability
	}
	return []string{
		clean(d.Key), dash(string(d.StateType)), strconv.Itoa(bindings), dash(strings.Join(d.Parents, ",")), condition(d.Condition),
		rev(d.Rev), dash(consistency), fraction(availability), yes(d.Disabled),
	}
}

func (o Output) unitRow(d *reconcile.UnitView) []string {
	crm, observed, msg := "-", "-", "-"
	if s := d.Status; s != nil {
		crm, observed, msg = dash(s.CRM), strconv.FormatInt(s.Generation, 10), dash(s.ErrorMsg)
	}
	state := condition(d.Condition)
	if d.Op == oprc.Undeploy && d.Condition != oprc.Deleted {
		state = yellow("UNDEPLOYING")
	}
	return []string{
		clean(d.Unit.ID), state, strconv.FormatInt(d.Generation, 10), crm, o.age(d.DispatchedAt),
		observed, yes(d.Unit.Primary), yes(d.Drift), shortDigest(d.SpecHash), dash(shortDigest(d.Revision)), msg,
	}
}

func (o Output) sourceRow(d *oprc.SourceStatus) []string {
	ready, healthy, msg := "-", "-", ""
	for _, c := range d.Conditions {
		switch c.Type {
		case "Ready":
			ready, msg = condition(strconv.FormatBool(c.Status)), c.Message
		case "Healthy":
			healthy = condition(strconv.FormatBool(c.Status))
		}
	}
	return []string{
		clean(d.Name), ready, healthy, suspended(d.Suspended), dash(shortDigest(d.Revision)), dash(shortDigest(d.Applied)), dash(d.URL),
		dash(d.Ref), dash(d.Path), o.age(d.LastTick), dash(shortDigest(d.PlanID)), dash(msg),
	}
}

// suspended is who suspended a source, until when, and why.
func suspended(s *oprc.Suspension) string {
	if s == nil {
		return "-"
	}
	text := "by " + firstOf(s.Author, "somebody")
	if !s.Until.IsZero() {
		text += " until " + s.Until.UTC().Format("2006-01-02 15:04Z")
	}
	if s.Reason != "" {
		text += ": " + cut(s.Reason, 60)
	}
	return clean(text)
}

func rev(n int64) string { return strconv.FormatInt(n, 10) }

func firstOf(ss ...string) string {
	for _, s := range ss {
		if s != "" {
			return s
		}
	}
	return ""
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "-"
}

func fraction(f float64) string {
	if f == 0 {
		return "-"
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

func source(s *oprc.SourceRef) string {
	if s == nil {
		return "-"
	}
	at := s.Path
	if s.Commit != "" {
		at += "@" + shortDigest(s.Commit)
	}
	return dash(at)
}

// capacity words what an environment can carry; units is the limit on those where
// others have a say in it, too.
func capacity(c *oprc.Capacity, units *int) string {
	c = cmp.Or(c, &oprc.Capacity{})
	var parts []string
	if c.CPU != "" {
		parts = append(parts, "cpu="+c.CPU)
	}
	if c.Memory != "" {
		parts = append(parts, "memory="+c.Memory)
	}
	if units = cmp.Or(units, c.Units); units != nil {
		parts = append(parts, "units="+strconv.Itoa(*units))
	}
	return dash(strings.Join(parts, ","))
}

func labels(m map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+"="+m[k])
	}
	return dash(strings.Join(parts, ","))
}

func replicas(ps []oprc.RuntimePartition) string {
	var parts []string
	for _, p := range ps {
		parts = append(parts, fmt.Sprintf("%d:%s", p.ID, strings.Join(p.Replicas, "+")))
	}
	return dash(strings.Join(parts, ","))
}
