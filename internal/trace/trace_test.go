package trace_test

import (
	"context"
	"errors"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/oaas-platform/oprc/internal/trace"
)

// Where nothing is configured, what is on the way of each request and report costs no memory.
func TestNothingIsAllocatedWithoutATracer(t *testing.T) {
	ctx, parent := t.Context(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	env := string([]byte("edge")) // no constant, as in use
	allocated := testing.AllocsPerRun(100, func() {
		under, span := trace.Tracer{}.Begin(ctx, trace.Server, "GET", parent)
		trace.Rename(under, "GET /packages")
		_, child := trace.Start(under, trace.Producer, "dispatch")
		child.Set("oprc.environment", env)
		child.SetInt("oprc.commands", len(env))
		child.End(nil)
		span.End(nil)
		if trace.Parent(under) != "" || trace.ID(under) != "" {
			t.Error("there is a trace")
		}
	})
	if allocated != 0 {
		t.Errorf("%g allocations", allocated)
	}
}

// A command carries its span over to the report that answers it, in whatever process.
func TestATraceGoesFromRequestToReport(t *testing.T) {
	kept := tracetest.NewInMemoryExporter()
	tracer := trace.By(sdk.NewTracerProvider(sdk.WithSyncer(kept)))
	ctx, request := tracer.Begin(t.Context(), trace.Server, "POST", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	trace.Rename(ctx, "POST /packages")
	below, dispatch := trace.Start(ctx, trace.Producer, "dispatch")
	carried := trace.Parent(below)
	dispatch.End(errors.New("refused"))
	request.End(nil)
	from := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tracer.Record(context.Background(), trace.Past{Name: "report", Parent: carried, From: from, To: from.Add(time.Second), Attributes: map[string]string{"oprc.unit": "u"}})
	tracer.Record(context.Background(), trace.Past{Name: "forged", Parent: "00-nonsense", From: from, To: from})

	spans := map[string]tracetest.SpanStub{}
	for _, s := range kept.GetSpans() {
		spans[s.Name] = s
		if s.SpanContext.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("%s is of the trace %s", s.Name, s.SpanContext.TraceID())
		}
	}
	for name, above := range map[string]string{"dispatch": "POST /packages", "report": "dispatch"} {
		if spans[name].Parent.SpanID() != spans[above].SpanContext.SpanID() {
			t.Errorf("%s is below %s, want below %s: %v", name, spans[name].Parent.SpanID(), above, spans)
		}
	}
	report := spans["report"]
	if len(spans) != 3 || !report.StartTime.Equal(from) || report.EndTime.Sub(from) != time.Second || spans["dispatch"].Status.Description != "refused" {
		t.Errorf("got %+v", spans)
	}
}
