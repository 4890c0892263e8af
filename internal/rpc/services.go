package rpc

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	oprcv1 "github.com/oaas-platform/oprc/proto/oprc/v1"
)

const (
	yamlType = "application/yaml"
	jsonType = "application/json"
)

// below is the path of one object. An empty name is not that of the listing.
func below(listing, name string) (string, error) {
	if name == "" {
		return "", connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the name of an object below %s is missing", listing))
	}
	return listing + url.PathEscape(name), nil
}

func paging(size int32, token string) url.Values {
	q := url.Values{}
	if size != 0 {
		q.Set("limit", strconv.Itoa(int(size)))
	}
	if token != "" {
		q.Set("after", token)
	}
	return q
}

func toggles(strict, take bool) url.Values {
	q := url.Values{}
	if strict {
		q.Set("strict", "true")
	}
	if take {
		q.Set("takeOwnership", "true")
	}
	return q
}

func packageOf(doc *structpb.Struct) *oprcv1.Package {
	return &oprcv1.Package{Name: text(doc, "name"), Rev: number(doc, "_rev"), Condition: text(object(doc, "status"), "condition"), Document: doc}
}

func packagesOf(docs []*structpb.Struct) []*oprcv1.Package {
	out := make([]*oprcv1.Package, len(docs))
	for i, doc := range docs {
		out[i] = packageOf(doc)
	}
	return out
}

func planOf(doc *structpb.Struct) *oprcv1.Plan {
	sum := object(doc, "summary")
	return &oprcv1.Plan{Id: text(doc, "planId"), Create: number(sum, "create"), Update: number(sum, "update"), Delete: number(sum, "delete"), Document: doc}
}

func runtimeOf(doc *structpb.Struct) *oprcv1.Runtime {
	return &oprcv1.Runtime{Key: text(doc, "_key"), Document: doc}
}

func (s edge) ListPackages(ctx context.Context, in *oprcv1.ListPackagesRequest) (*oprcv1.ListPackagesResponse, error) {
	doc, err := s.ask(ctx, request{method: http.MethodGet, path: "/packages", query: paging(in.GetPageSize(), in.GetPageToken())})
	if err != nil {
		return nil, err
	}
	return &oprcv1.ListPackagesResponse{Packages: packagesOf(items(doc)), NextPageToken: text(doc, "next")}, nil
}

func (s edge) GetPackage(ctx context.Context, in *oprcv1.GetPackageRequest) (*oprcv1.GetPackageResponse, error) {
	doc, err := s.one(ctx, http.MethodGet, "/packages/", in.GetName(), request{})
	if err != nil {
		return nil, err
	}
	return &oprcv1.GetPackageResponse{Package: packageOf(doc)}, nil
}

// one asks about one object.
func (s edge) one(ctx context.Context, method, listing, name string, asked request) (*structpb.Struct, error) {
	path, err := below(listing, name)
	if err != nil {
		return nil, err
	}
	asked.method, asked.path = method, path
	return s.ask(ctx, asked)
}

func (s edge) ApplyPackages(ctx context.Context, in *oprcv1.ApplyPackagesRequest) (*oprcv1.ApplyPackagesResponse, error) {
	doc, err := s.ask(ctx, request{
		method: http.MethodPost, path: "/packages", query: toggles(in.GetStrict(), in.GetTakeOwnership()), media: yamlType, body: []byte(in.GetPackages()),
	})
	if err != nil {
		return nil, err
	}
	if doc.GetFields()["items"] == nil {
		return &oprcv1.ApplyPackagesResponse{Packages: []*oprcv1.Package{packageOf(doc)}}, nil
	}
	return &oprcv1.ApplyPackagesResponse{Packages: packagesOf(items(doc))}, nil
}

func (s edge) DeletePackage(ctx context.Context, in *oprcv1.DeletePackageRequest) (*oprcv1.DeletePackageResponse, error) {
	doc, err := s.one(ctx, http.MethodDelete, "/packages/", in.GetName(), request{query: toggles(false, in.GetTakeOwnership())})
	if err != nil {
		return nil, err
	}
	return &oprcv1.DeletePackageResponse{PlanId: text(doc, "planId")}, nil
}

func (s edge) CreatePlan(ctx context.Context, in *oprcv1.CreatePlanRequest) (*oprcv1.CreatePlanResponse, error) {
	doc, err := s.ask(ctx, request{
		method: http.MethodPost, path: "/plan", query: toggles(in.GetStrict(), in.GetTakeOwnership()), media: yamlType, body: []byte(in.GetPackages()),
	})
	if err != nil {
		return nil, err
	}
	return &oprcv1.CreatePlanResponse{Plan: planOf(doc)}, nil
}

func (s edge) GetPlan(ctx context.Context, in *oprcv1.GetPlanRequest) (*oprcv1.GetPlanResponse, error) {
	doc, err := s.one(ctx, http.MethodGet, "/plans/", in.GetId(), request{})
	if err != nil {
		return nil, err
	}
	return &oprcv1.GetPlanResponse{Plan: planOf(doc)}, nil
}

func (s edge) ApplyPlan(ctx context.Context, in *oprcv1.ApplyPlanRequest) (*oprcv1.ApplyPlanResponse, error) {
	path, err := below("/plan/", in.GetId())
	if err != nil {
		return nil, err
	}
	doc, err := s.ask(ctx, request{method: http.MethodPost, path: path + "/apply"})
	if err != nil {
		return nil, err
	}
	return &oprcv1.ApplyPlanResponse{Document: doc}, nil
}

func (s edge) ListRuntimes(ctx context.Context, in *oprcv1.ListRuntimesRequest) (*oprcv1.ListRuntimesResponse, error) {
	doc, err := s.ask(ctx, request{method: http.MethodGet, path: "/cr", query: paging(in.GetPageSize(), in.GetPageToken())})
	if err != nil {
		return nil, err
	}
	out := &oprcv1.ListRuntimesResponse{NextPageToken: text(doc, "next")}
	for _, item := range items(doc) {
		out.Runtimes = append(out.Runtimes, runtimeOf(item))
	}
	return out, nil
}

func (s edge) GetRuntime(ctx context.Context, in *oprcv1.GetRuntimeRequest) (*oprcv1.GetRuntimeResponse, error) {
	doc, err := s.one(ctx, http.MethodGet, "/cr/", in.GetKey(), request{})
	if err != nil {
		return nil, err
	}
	return &oprcv1.GetRuntimeResponse{Runtime: runtimeOf(doc)}, nil
}

func (s edge) UpdateRuntime(ctx context.Context, in *oprcv1.UpdateRuntimeRequest) (*oprcv1.UpdateRuntimeResponse, error) {
	path, err := below("/cr/", in.GetKey())
	if err != nil {
		return nil, err
	}
	body, err := protojson.Marshal(in.GetDocument())
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	doc, err := s.ask(ctx, request{method: http.MethodPost, path: path + "/update", media: jsonType, body: body})
	if err != nil {
		return nil, err
	}
	return &oprcv1.UpdateRuntimeResponse{Document: doc}, nil
}
