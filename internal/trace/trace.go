// Package trace follows one request, or one tick of a source, over processes: to the commit
// that it leads to, the commands, and the reports of CRMs that answer them.
//
//	request or tick -> commit -> dispatch to an environment -> command's traceparent
//	                                                              |
//	                  report, from the dispatch until it is folded <- report's traceparent
//
// Where nothing is configured the tracer is the zero one: no span begins, and what is called
// here returns at once and allocates nothing. Who sends spans is internal/otlp.
package trace

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	otel "go.opentelemetry.io/otel/trace"
)

// A Kind is a span's part in an exchange.
type Kind = otel.SpanKind

// The kinds.
const (
	Internal = otel.SpanKindInternal
	Server   = otel.SpanKindServer
	Producer = otel.SpanKindProducer
	Consumer = otel.SpanKindConsumer
)

// A Tracer begins spans. The zero Tracer begins none.
type Tracer struct{ by otel.Tracer }

// By returns the tracer of a provider.
func By(p otel.TracerProvider) Tracer { return Tracer{p.Tracer("github.com/oaas-platform/oprc")} }

// Begin begins a span below the one that parent, a traceparent, names; else below that of
// ctx; else a new trace. A parent that cannot be read counts as none.
func (t Tracer) Begin(ctx context.Context, kind Kind, name, parent string) (context.Context, Span) {
	if t.by == nil {
		return ctx, Span{}
	}
	ctx, s := t.by.Start(under(ctx, parent), name, otel.WithSpanKind(kind))
	return ctx, Span{s}
}

// A Past is a span that is known once it is over.
type Past struct {
	Name, Parent string // Parent is a traceparent
	From, To     time.Time
	Attributes   map[string]string
}

// Record keeps a span of the kind Consumer, unless its parent cannot be read.
func (t Tracer) Record(ctx context.Context, p Past) {
	if t.by == nil {
		return
	}
	ctx = under(ctx, p.Parent)
	if !otel.SpanContextFromContext(ctx).IsValid() {
		return
	}
	attrs := make([]attribute.KeyValue, 0, len(p.Attributes))
	for key, value := range p.Attributes {
		attrs = append(attrs, attribute.String(key, value))
	}
	_, s := t.by.Start(ctx, p.Name, otel.WithSpanKind(Consumer), otel.WithTimestamp(p.From), otel.WithAttributes(attrs...))
	s.End(otel.WithTimestamp(p.To))
}

func under(ctx context.Context, parent string) context.Context {
	if parent == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent})
}

// Start begins a span below that of ctx; without one, or where that is not kept, none.
func Start(ctx context.Context, kind Kind, name string) (context.Context, Span) {
	above := otel.SpanFromContext(ctx)
	if !above.IsRecording() {
		return ctx, Span{}
	}
	ctx, s := By(above.TracerProvider()).by.Start(ctx, name, otel.WithSpanKind(kind))
	return ctx, Span{s}
}

// Rename gives the span of ctx, if there is one, another name.
func Rename(ctx context.Context, name string) {
	if s := otel.SpanFromContext(ctx); s.IsRecording() {
		s.SetName(name)
	}
}

// ID is that of the trace which ctx is part of, or "".
func ID(ctx context.Context) string {
	if c := otel.SpanContextFromContext(ctx); c.HasTraceID() {
		return c.TraceID().String()
	}
	return ""
}

// Parent is the traceparent of the span of ctx (W3C Trace Context), or "".
func Parent(ctx context.Context) string {
	if !otel.SpanContextFromContext(ctx).IsValid() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}

// A Span is a piece of work. Nothing comes of what is done with the zero Span, nor of one
// that is not ended.
type Span struct{ of otel.Span }

// Set adds an attribute.
func (s Span) Set(key, value string) {
	if s.of != nil {
		s.of.SetAttributes(attribute.String(key, value))
	}
}

// SetInt adds an attribute.
func (s Span) SetInt(key string, value int) {
	if s.of != nil {
		s.of.SetAttributes(attribute.Int(key, value))
	}
}

// Failed marks the span as one of work that failed.
func (s Span) Failed(why string) {
	if s.of != nil {
		s.of.SetStatus(codes.Error, why)
	}
}

// End ends the span; err, if any, is why its work failed.
func (s Span) End(err error) {
	if s.of == nil {
		return
	}
	if err != nil {
		s.Failed(err.Error())
	}
	s.of.End()
}
