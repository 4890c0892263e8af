// Package rpc is the HTTP API for Connect, gRPC and gRPC-Web, as proto/oprc/v1 has it.
//
//	call -> request of the HTTP API, in the same process -> answer -> message
//	                                                    \-> problem -> error, with a Problem
//
// It decides nothing: who may do what, limits, masks and preconditions are the HTTP
// API's (docs/adr/0074).
package rpc

import (
	"context"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/reflect/protoreflect"

	oprcv1 "github.com/oaas-platform/oprc/proto/oprc/v1"
	"github.com/oaas-platform/oprc/proto/oprc/v1/oprcv1connect"
)

// Handlers returns what answers below each path. routes is the HTTP API after it knows the
// caller; ready is its path for readiness; no message is larger than most bytes.
func Handlers(routes http.Handler, ready string, most int64) map[string]http.Handler {
	names := []string{
		oprcv1connect.PackageServiceName, oprcv1connect.PlanServiceName, oprcv1connect.EventServiceName, oprcv1connect.RuntimeServiceName,
	}
	s := edge{routes, ready}
	out := map[string]http.Handler{}
	add := func(path string, h http.Handler) {
		service := oprcv1.File_oprc_v1_oprc_proto.Services().ByName(protoreflect.FullName(strings.Trim(path, "/")).Name())
		out[path] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if service != nil && service.Methods().ByName(protoreflect.Name(strings.TrimPrefix(r.URL.Path, path))) == nil {
				routes.ServeHTTP(w, r) // whose problem says that there is no such path
				return
			}
			w = flushing{w}
			h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, call{w, r})))
		})
	}
	limit := connect.WithHandlerOptions(
		connect.WithReadMaxBytes(int(most)), connect.WithCodec(strictJSON{"json"}), connect.WithCodec(strictJSON{"json; charset=utf-8"}),
	)
	add(oprcv1connect.NewPackageServiceHandler(s, limit))
	add(oprcv1connect.NewPlanServiceHandler(s, limit))
	add(oprcv1connect.NewEventServiceHandler(s, limit))
	add(oprcv1connect.NewRuntimeServiceHandler(s, limit))
	add(grpchealth.NewHandler(s, limit))
	reflector := grpcreflect.NewStaticReflector(append(names, grpchealth.HealthV1ServiceName)...)
	add(grpcreflect.NewHandlerV1(reflector, limit))
	add(grpcreflect.NewHandlerV1Alpha(reflector, limit)) // which grpcurl still asks first
	return out
}

// edge implements the services.
type edge struct {
	routes http.Handler
	ready  string
}

// Check says for the health service whether the state can be read.
func (s edge) Check(ctx context.Context, asked *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	switch asked.Service {
	case "", oprcv1connect.PackageServiceName, oprcv1connect.PlanServiceName, oprcv1connect.EventServiceName, oprcv1connect.RuntimeServiceName:
	default:
		return nil, connect.NewError(connect.CodeNotFound, nil)
	}
	if _, err := s.ask(ctx, request{method: http.MethodGet, path: s.ready}); err != nil {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil //nolint:nilerr // that is the answer
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}

// flushing is a writer that connect can flush, whatever is around the server's.
type flushing struct{ http.ResponseWriter }

func (f flushing) Unwrap() http.ResponseWriter { return f.ResponseWriter }

func (f flushing) Flush() {
	_ = http.NewResponseController(f.ResponseWriter).Flush() // the client went away, if at all
}
