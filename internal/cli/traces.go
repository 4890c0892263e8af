package cli

import (
	"context"
	"errors"
	"log/slog"
	"net/url"

	"github.com/oaas-platform/oprc/internal/otlp"
	"github.com/oaas-platform/oprc/internal/trace"
)

func (c TracesConfig) check() error {
	if u, err := url.Parse(c.Endpoint); c.Endpoint != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return errors.New("traces.endpoint: the URL of a collector is needed, such as http://localhost:4318")
	}
	return nil
}

// tracer is the zero one unless the configuration or the variables of OpenTelemetry name a
// collector. End sends what is left.
func (e *env) tracer(ctx context.Context, c TracesConfig, log *slog.Logger) (t trace.Tracer, end func(), err error) {
	named := e.getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" || e.getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != ""
	off := e.getenv("OTEL_SDK_DISABLED") == "true" || e.getenv("OTEL_TRACES_EXPORTER") == "none"
	if off || !named && c.Endpoint == "" {
		return t, func() {}, nil
	}
	o := otlp.Options{Endpoint: c.Endpoint, Version: version, Instance: identity(), Log: log}
	if named {
		o.Endpoint = ""
	}
	return otlp.Start(ctx, o)
}
