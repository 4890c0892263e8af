// Package otlp sends spans to a collector, by the OpenTelemetry protocol over HTTP.
package otlp

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/oaas-platform/oprc/internal/trace"
)

// Options say where spans go and whose they are. The variables of OpenTelemetry
// (OTEL_EXPORTER_OTLP_*, OTEL_TRACES_SAMPLER, OTEL_BSP_*, OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES) hold as well.
type Options struct {
	Endpoint string // URL of the collector, to which /v1/traces is added; "": as the variables say
	Version  string // of this program
	Instance string // unique per process
	Log      *slog.Logger
}

// lastSpans is how long the end of the process may wait for a collector.
const lastSpans = 2 * time.Second

// Start returns a tracer whose spans are sent from time to time. What a collector does not
// take is dropped: nothing waits for it. End sends the last ones, and takes two seconds at most.
func Start(ctx context.Context, o Options) (t trace.Tracer, end func(), err error) {
	var to []otlptracehttp.Option
	if o.Endpoint != "" {
		at, err := url.JoinPath(o.Endpoint, "v1", "traces")
		if err != nil {
			return t, nil, err
		}
		to = append(to, otlptracehttp.WithEndpointURL(at))
	}
	client, err := otlptracehttp.New(ctx, to...)
	if err != nil {
		return t, nil, fmt.Errorf("exporter of traces: %w", err)
	}
	of, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "oprc"), attribute.String("service.version", o.Version), attribute.String("service.instance.id", o.Instance),
	), resource.WithFromEnv())
	if err != nil {
		return t, nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	p := sdk.NewTracerProvider(sdk.WithBatcher(&exporter{SpanExporter: client, log: o.Log}), sdk.WithResource(of))
	return trace.By(p), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSpans)
		defer cancel()
		_ = p.Shutdown(ctx) // the exporter has logged it
	}, nil
}

// An exporter says once that spans cannot be sent, and once that they can be again.
type exporter struct {
	sdk.SpanExporter
	log     *slog.Logger
	failing atomic.Bool
}

// ExportSpans never fails: what was not sent is lost, and logged.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !e.failing.Swap(true):
		e.log.Warn("traces are not sent, and are dropped until that works again", "error", err)
	case err == nil && e.failing.Swap(false):
		e.log.Info("traces are sent again")
	}
	return nil
}
