package resolve

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// checkFunctions resolves and checks every function by itself.
func (w *world) checkFunctions() {
	for _, p := range w.packs {
		for _, f := range p.functions {
			w.checkFunction(f)
		}
	}
}

func (w *world) checkFunction(f *function) {
	p, here := f.pack, at("functions", f.index)
	f.out = *f.spec
	f.out.Key, f.out.Pkg = f.key, p.name
	if f.out.Type == "" {
		f.out.Type = oprc.Task
	}
	if f.out.State == "" {
		f.out.State = oprc.Enabled
	}
	f.out.OutputCls = w.outputClass(p, f.spec.OutputCls, func() string { return here + "/outputCls" })
	f.out.Macro = w.resolveMacro(f)
	f.imageOK = f.out.Type != oprc.Task || f.spec.Config.StaticURL != "" || f.spec.Provision.Image() != ""
	if p.doc == nil {
		return
	}
	if !f.bound && w.functions[f.key] == f && f.spec.Name != "" && f.out.Type != oprc.Builtin {
		w.warn(p, oprc.CodeUnbound, here+"/name", "bind it in a class, or remove it", "function "+quote(f.spec.Name)+" is bound by no class")
	}
	w.checkType(f, here)
	w.checkQoS(p, here, f.spec.Requirements, f.spec.Constraints)
	w.checkProvision(f, here+"/provision")
}

// checkType checks that a function has what its type needs, and no more.
func (w *world) checkType(f *function, here string) {
	name := "function " + quote(f.spec.Name)
	switch {
	case f.out.Type == oprc.MacroFn && (f.spec.Macro == nil || len(f.spec.Macro.Steps) == 0):
		w.report(f.pack, oprc.CodeMacro, here+"/macro", "add macro: {steps: [...]}", name+" is a MACRO and has no steps")
	case f.out.Type != oprc.MacroFn && f.spec.Macro != nil:
		w.report(f.pack, oprc.CodeMacro, here+"/macro", "set type: MACRO, or remove the macro",
			name+" has a macro, but its type is "+string(f.out.Type))
	}
	if f.out.Type != oprc.Task && f.spec.Provision != nil {
		w.report(f.pack, oprc.CodeProvision, here+"/provision", "remove the provision, or set type: TASK",
			name+" has a provision, but its type is "+string(f.out.Type))
	}
}

// checkQoS checks requirements and constraints of a class or function.
func (w *world) checkQoS(p *pack, here string, r *oprc.Requirements, c *oprc.Constraints) {
	if p.doc == nil {
		return
	}
	if r != nil {
		w.checkNumber(p, here+"/requirements/throughput", "throughput", r.Throughput)
		w.checkNumber(p, here+"/requirements/latency", "latency", r.Latency)
		if a := r.Availability; a != 0 && !(a > 0 && a < 1) {
			w.report(p, oprc.CodeAvailability, here+"/requirements/availability", "write a share of time such as 0.99",
				"availability is "+number(a)+"; it must be between 0 and 1, and neither of them")
		}
	}
	if c != nil {
		w.checkNumber(p, here+"/constraints/hardLatency", "hardLatency", c.HardLatency)
		w.checkNumber(p, here+"/constraints/maxConcurrency", "maxConcurrency", float64(c.MaxConcurrency))
	}
	if r != nil && c != nil && r.Latency > 0 && c.HardLatency > 0 && r.Latency > c.HardLatency {
		w.report(p, oprc.CodeQoS, here+"/requirements/latency", "lower latency or raise hardLatency",
			"latency "+number(r.Latency)+" is above hardLatency "+number(c.HardLatency))
	}
}

func (w *world) checkNumber(p *pack, pointer, name string, v float64) {
	if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		w.report(p, oprc.CodeQoS, pointer, "", name+" is "+number(v)+"; it must be 0 or more")
	}
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func itoa(n int) string { return strconv.Itoa(n) }

// checkProvision checks the amounts that a function asks for.
func (w *world) checkProvision(f *function, here string) {
	if f.spec.Provision == nil {
		return
	}
	p := f.pack
	switch e := *f.spec.Provision; {
	case e.Knative != nil:
		k := e.Knative
		here += "/knative"
		w.checkQuantity(p, here+"/cpu", "cpu", k.CPU)
		w.checkQuantity(p, here+"/memory", "memory", k.Memory)
		w.checkLimits(p, here, "Cpu", k.RequestsCPU, k.LimitsCPU)
		w.checkLimits(p, here, "Memory", k.RequestsMemory, k.LimitsMemory)
		w.checkScale(p, here, k.MinScale, k.MaxScale)
	case e.Deployment != nil:
		d := e.Deployment
		here += "/deployment"
		w.checkLimits(p, here, "Cpu", d.RequestsCPU, d.LimitsCPU)
		w.checkLimits(p, here, "Memory", d.RequestsMemory, d.LimitsMemory)
		w.checkScale(p, here, d.MinScale, d.MaxScale)
	case noEngine(&e):
		w.report(p, oprc.CodeProvision, here, "add knative, docker or deployment, or remove the provision",
			"the provision of function "+quote(f.spec.Name)+" names no engine")
	}
}

// noEngine reports a provision that says nothing, which is a mistake of its own.
func noEngine(e *oprc.Provision) bool {
	return e != nil && e.Knative == nil && e.Docker == nil && e.Deployment == nil
}

func (w *world) checkLimits(p *pack, here, what, requests, limits string) {
	low, lowOK := w.checkQuantity(p, here+"/requests"+what, "requests"+what, requests)
	high, highOK := w.checkQuantity(p, here+"/limits"+what, "limits"+what, limits)
	if lowOK && highOK && low.Cmp(high) > 0 {
		w.report(p, oprc.CodeProvision, here+"/requests"+what, "lower requests"+what+" or raise limits"+what,
			"requests"+what+" "+requests+" is above limits"+what+" "+limits)
	}
}

func (w *world) checkScale(p *pack, here string, low, high *int) {
	for _, s := range []struct {
		name  string
		value *int
	}{{"minScale", low}, {"maxScale", high}} {
		if s.value != nil && *s.value < -1 {
			w.report(p, oprc.CodeProvision, here+"/"+s.name, "-1 means unset", s.name+" is "+itoa(*s.value)+"; it must be -1 or more")
		}
	}
	if low != nil && high != nil && *high >= 0 && *low > *high {
		w.report(p, oprc.CodeProvision, here+"/minScale", "lower minScale or raise maxScale",
			"minScale "+itoa(*low)+" is above maxScale "+itoa(*high))
	}
}

// quantities remembers amounts by their text.
type quantities map[string]quantity

type quantity struct {
	resource.Quantity
	err error
}

// checkQuantity parses an amount; it is false where none is set, or a wrong one.
func (w *world) checkQuantity(p *pack, pointer, name, text string) (resource.Quantity, bool) {
	if text == "" || text == "-1" {
		return resource.Quantity{}, false
	}
	q, known := w.quantities[text]
	if !known {
		if w.quantities == nil {
			w.quantities = quantities{}
		}
		q.Quantity, q.err = resource.ParseQuantity(text)
		w.quantities[text] = q
	}
	switch {
	case q.err != nil:
		w.report(p, oprc.CodeProvision, pointer, "write an amount such as 250m, 0.5, 128Mi or 1Gi", name+" "+quote(text)+" is not an amount")
	case q.Sign() < 0:
		w.report(p, oprc.CodeProvision, pointer, "-1 means unset", name+" "+text+" is negative")
	default:
		return q.Quantity, true
	}
	return resource.Quantity{}, false
}

// checkEnvironment checks one declared environment.
func (w *world) checkEnvironment(doc *oprc.Document, seen map[string]*oprc.Document) {
	e := doc.Environment
	if first := seen[e.Name]; first != nil {
		w.reportDoc(doc, oprc.CodeDuplicate, "/name", "rename or remove one of the two",
			"environment "+quote(e.Name)+" is declared twice"+firstAt(first, "/name"))
		return
	}
	seen[e.Name] = doc
	if a := e.Availability; a != 0 && !(a > 0 && a < 1) {
		w.reportDoc(doc, oprc.CodeAvailability, "/availability", "write a share of time such as 0.99",
			"availability is "+number(a)+"; it must be between 0 and 1, and neither of them")
	}
	if e.Capacity == nil {
		return
	}
	for _, amount := range []struct{ name, text string }{{"cpu", e.Capacity.CPU}, {"memory", e.Capacity.Memory}} {
		if q, err := resource.ParseQuantity(amount.text); amount.text != "" && (err != nil || q.Sign() < 0) {
			w.reportDoc(doc, oprc.CodeEnvironment, "/capacity/"+amount.name, "write an amount such as 16, 250m or 64Gi",
				fmt.Sprintf("%s %q is not an amount", amount.name, amount.text))
		}
	}
	if units := e.Capacity.Units; units != nil && *units < 0 {
		w.reportDoc(doc, oprc.CodeEnvironment, "/capacity/units", "", "units is "+itoa(*units)+"; it must be 0 or more")
	}
}

// checkImages checks that what is to be deployed has an image.
func (w *world) checkImages() {
	for _, p := range w.packs {
		for _, d := range p.deployments {
			if d.class != nil && deployed(d) {
				w.needImages(d)
			}
		}
	}
	for _, p := range w.packs {
		for _, f := range p.functions {
			if f.imageOK || p.doc == nil || noEngine(f.spec.Provision) {
				continue
			}
			severity, message := oprc.SeverityWarning, "function "+quote(f.spec.Name)+" has no image"
			if f.needed {
				severity, message = oprc.SeverityError, message+", and it is to be deployed"
			}
			w.diagnose(p, severity, oprc.CodeImage, at("functions", f.index, "provision"),
				"add provision: {knative: {image: ...}}, or config: {staticUrl: ...} where it runs already", message)
		}
	}
}

// needImages marks the functions that a deployment runs. Where one without image
// is another package's, the deployment is at fault.
func (w *world) needImages(d *deployment) {
	for name, b := range d.class.out.Resolved.Functions {
		f := w.functions[b.Function]
		if f == nil || f.imageOK || f.out.State == oprc.Disabled {
			continue
		}
		if f.pack == d.pack {
			f.needed = true
			continue
		}
		w.report(d.pack, oprc.CodeImage, at("deployments", d.index, "_key"), "give the function an image, or a staticUrl",
			"binding "+quote(name)+" of class "+quote(d.class.key)+" needs function "+quote(f.key)+", which has no image")
	}
}

// deployed reports whether a deployment runs anything: neither it nor its class is
// disabled or about to go.
func deployed(d *deployment) bool {
	c := d.class
	return !d.pack.spec.Disabled && !c.pack.spec.Disabled && !c.spec.Disabled && !c.spec.MarkForRemoval
}

// sortedNames returns the keys of a map of bindings in order.
func sortedNames(bindings map[string]oprc.Binding) []string {
	names := make([]string, 0, len(bindings))
	for name := range bindings {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
