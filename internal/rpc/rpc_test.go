package rpc_test

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/rest"
	"github.com/oaas-platform/oprc/internal/rpc"
	"github.com/oaas-platform/oprc/internal/schema"
	oprcv1 "github.com/oaas-platform/oprc/proto/oprc/v1"
	"github.com/oaas-platform/oprc/proto/oprc/v1/oprcv1connect"
)

type state struct {
	*reconcile.Reconciler
	*reconcile.Inspector
	reconcile.Steering
	*rdb.DB
}

func (s state) PlanAs(ctx context.Context, source string, next loop.Proposal) (loop.Preview, error) {
	return loop.PlanAs(ctx, s.Reconciler, s.DB, source, next)
}

// serve starts a server as serve does, on real state with the environment east.
func serve(t *testing.T, access rest.Access) (url string) {
	t.Helper()
	db, err := rdb.Open(t.Context(), rdb.Options{URL: "redis://" + miniredis.RunT(t).Addr(), Keys: rdb.Keys{N: "n", T: "t"}, Group: "g"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	rec := &reconcile.Reconciler{Ledger: db, Load: schema.Load, Now: time.Now}
	all := state{rec, &reconcile.Inspector{Ledger: db, Reader: db}, reconcile.Steering{Desk: db, Reconciler: rec}, db}
	req := reconcile.Request{Files: []oprc.File{{Path: "east.yaml", Data: []byte("kind: Environment\nname: east\navailability: 0.99\ndefault: true\n")}}}
	req.Scope.Origin = oprc.OriginCLI
	if _, err := rec.Apply(t.Context(), req, reconcile.Conditions{}, reconcile.Actor{Name: "setup"}); err != nil {
		t.Fatal(err)
	}
	s := &rest.Server{Control: all, Load: schema.Load, Now: time.Now, Access: access, Procedures: rpc.Handlers}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- rest.Serve(ctx, l, s.Handler(), nil) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

// plain is a client that speaks HTTP/2 without TLS, as gRPC does, or only HTTP/1.
func plain(t *testing.T, http2 bool) *http.Client {
	t.Helper()
	p := new(http.Protocols)
	p.SetHTTP1(!http2)
	p.SetUnencryptedHTTP2(http2)
	transport := &http.Transport{Protocols: p}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

const shop = `
name: shop
functions:
  - name: add
    provision: {knative: {image: "example/add:1"}}
    config: {env: {DB_PASSWORD: canary, MODE: fast}}
classes:
  - name: cart
    functions: [{function: .add}]
deployments:
  - {_key: .cart, partitionCount: 2}
`

// Each protocol plans, applies, reads, watches, updates and deletes, and shows no secret.
func TestCallsOfEachProtocol(t *testing.T) {
	for name, how := range map[string]struct {
		http2   bool
		options []connect.ClientOption
	}{
		"connect": {false, nil}, "json": {false, []connect.ClientOption{connect.WithProtoJSON()}},
		"grpc": {true, []connect.ClientOption{connect.WithGRPC()}}, "grpc-web": {false, []connect.ClientOption{connect.WithGRPCWeb()}},
	} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, rest.Access{})
			client := plain(t, how.http2)
			packages := oprcv1connect.NewPackageServiceClient(client, url, how.options...)
			plans := oprcv1connect.NewPlanServiceClient(client, url, how.options...)
			runtimes := oprcv1connect.NewRuntimeServiceClient(client, url, how.options...)
			var seen strings.Builder
			must := func(err error, shown string) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				seen.WriteString(shown + "\n")
			}

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			watch, err := oprcv1connect.NewEventServiceClient(client, url, how.options...).Watch(ctx, &oprcv1.WatchRequest{Package: "shop"})
			must(err, "")
			if !watch.Receive() || watch.Msg().GetType() != "" {
				t.Fatalf("got %v, %v, want an empty message first", watch.Msg(), watch.Err())
			}

			planned, err := plans.CreatePlan(t.Context(), &oprcv1.CreatePlanRequest{Packages: shop})
			must(err, planned.String())
			got, err := plans.GetPlan(t.Context(), &oprcv1.GetPlanRequest{Id: planned.GetPlan().GetId()})
			must(err, got.String())
			applied, err := plans.ApplyPlan(t.Context(), &oprcv1.ApplyPlanRequest{Id: planned.GetPlan().GetId()})
			must(err, applied.String())
			for watch.Receive() && watch.Msg().GetType() == "" { // alive
			}
			must(watch.Err(), watch.Msg().String())
			if watch.Msg().GetId() == "" || watch.Msg().GetDocument() == nil {
				t.Errorf("got the event %v", watch.Msg())
			}

			again, err := packages.ApplyPackages(t.Context(), &oprcv1.ApplyPackagesRequest{Packages: strings.Replace(shop, "fast", "slow", 1)})
			must(err, again.String())
			one, err := packages.GetPackage(t.Context(), &oprcv1.GetPackageRequest{Name: "shop"})
			must(err, one.String())
			list, err := packages.ListPackages(t.Context(), &oprcv1.ListPackagesRequest{PageSize: 1})
			must(err, list.String())
			if p := list.GetPackages(); len(p) != 1 || list.GetNextPageToken() == "" {
				t.Errorf("got %v, want a page of one and a token", list)
			}
			list, err = packages.ListPackages(t.Context(), &oprcv1.ListPackagesRequest{PageSize: 10, PageToken: list.GetNextPageToken()})
			must(err, list.String())
			if p := one.GetPackage(); p.GetName() != "shop" || p.GetRev() != 2 || p.GetCondition() != "PENDING" || list.GetNextPageToken() != "" {
				t.Errorf("got %s at %d, %s, then the token %q", p.GetName(), p.GetRev(), p.GetCondition(), list.GetNextPageToken())
			}
			all, err := runtimes.ListRuntimes(t.Context(), &oprcv1.ListRuntimesRequest{})
			must(err, all.String())

			deleted, err := packages.DeletePackage(t.Context(), &oprcv1.DeletePackageRequest{Name: "shop"})
			must(err, deleted.String())
			_, err = packages.GetPackage(t.Context(), &oprcv1.GetPackageRequest{Name: "never"})
			if connect.CodeOf(err) != connect.CodeNotFound {
				t.Errorf("got %v, want not found", err)
			}
			if strings.Contains(seen.String(), "canary") || !strings.Contains(seen.String(), oprc.Masked) {
				t.Errorf("a secret is shown: %s", seen.String())
			}
		})
	}
}

// Errors are the problems of the HTTP API, whoever asks.
func TestRefusedCalls(t *testing.T) {
	var known []rest.Token
	secrets := map[rest.Role]string{}
	for _, role := range []rest.Role{rest.Viewer, rest.Editor} {
		made, err := rest.MakeToken(rest.Token{Name: string(role), Role: role}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		known, secrets[role] = append(known, made.Token), made.Secret
	}
	url := serve(t, rest.Access{Tokens: known})
	client := plain(t, true)
	for name, c := range map[string]struct {
		role   rest.Role
		header [2]string
		body   string
		want   connect.Code
		says   string // in the problem's type
	}{
		"nobody":        {"", [2]string{}, shop, connect.CodeUnauthenticated, "request"},
		"wrong token":   {"", [2]string{"Authorization", "Bearer oprc_no"}, shop, connect.CodeUnauthenticated, ""},
		"viewer writes": {rest.Viewer, [2]string{}, shop, connect.CodePermissionDenied, "request"},
		"invalid":       {rest.Editor, [2]string{}, "name: bad\nclases: []", connect.CodeInvalidArgument, "invalid"},
		"precondition":  {rest.Editor, [2]string{"If-Match", `"7"`}, shop, connect.CodeFailedPrecondition, "precondition"},
		"too large":     {rest.Editor, [2]string{}, strings.Repeat("# much\n", 200_000), connect.CodeResourceExhausted, ""},
		"another site":  {rest.Editor, [2]string{"Sec-Fetch-Site", "cross-site"}, shop, connect.CodePermissionDenied, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, info := connect.NewClientContext(t.Context())
			if c.header[0] != "" {
				info.RequestHeader().Set(c.header[0], c.header[1])
			}
			if c.role != "" {
				info.RequestHeader().Set("Authorization", "Bearer "+secrets[c.role])
			}
			_, err := oprcv1connect.NewPackageServiceClient(client, url, connect.WithGRPC()).ApplyPackages(ctx, &oprcv1.ApplyPackagesRequest{Packages: c.body})
			if connect.CodeOf(err) != c.want {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if got := problemOf(t, err).GetType(); c.says != "" && got != "urn:oprc:problem:"+c.says {
				t.Errorf("got the problem %q, want %s: %v", got, c.says, err)
			}
		})
	}
}

func problemOf(t *testing.T, err error) *oprcv1.Problem {
	t.Helper()
	failed, _ := err.(*connect.Error) //nolint:errorlint // it is not wrapped
	for _, d := range failed.Details() {
		v, err := d.Value()
		if err != nil {
			t.Fatal(err)
		}
		if p, is := v.(*oprcv1.Problem); is {
			return p
		}
	}
	return nil
}

// The past that is not kept is refused before a stream begins.
func TestWatchRefusesWhatIsNoEvent(t *testing.T) {
	watch, err := oprcv1connect.NewEventServiceClient(plain(t, true), serve(t, rest.Access{}), connect.WithGRPC()).
		Watch(t.Context(), &oprcv1.WatchRequest{Since: "yesterday"})
	if err != nil {
		t.Fatal(err)
	}
	if watch.Receive() || connect.CodeOf(watch.Err()) != connect.CodeInvalidArgument {
		t.Errorf("got %v, want an invalid argument", watch.Err())
	}
}

// Programs find out what there is, and how the server is doing.
func TestReflectionAndHealth(t *testing.T) {
	url, client := serve(t, rest.Access{}), plain(t, true)
	stream := grpcreflect.NewClient(client, url, connect.WithGRPC()).NewStream(t.Context())
	defer stream.Close()
	names, err := stream.ListServices()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range names {
		got = append(got, string(n))
	}
	slices.Sort(got)
	want := []string{"grpc.health.v1.Health", "oprc.v1.EventService", "oprc.v1.PackageService", "oprc.v1.PlanService", "oprc.v1.RuntimeService"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := stream.FileContainingSymbol("oprc.v1.PlanService"); err != nil {
		t.Error(err)
	}
	status := func(service, body string) string {
		res, err := client.Post(url+"/grpc.health.v1.Health/Check", "application/json", strings.NewReader(body)) //nolint:noctx // it ends with the server
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return service + " " + res.Status
	}
	if got := status("PlanService", `{"service": "oprc.v1.PlanService"}`); got != "PlanService 200 OK" {
		t.Error(got)
	}
	if got := status("other", `{"service": "other"}`); got != "other 404 Not Found" {
		t.Error(got)
	}
}

// A procedure that there is not is a problem like any other path that there is not, and
// unimplemented for clients that know one.
func TestUnknownProcedures(t *testing.T) {
	url, client := serve(t, rest.Access{}), plain(t, true)
	const nope = "/oprc.v1.PackageService/Nope"
	res, err := client.Post(url+nope, "application/json", strings.NewReader("{}")) //nolint:noctx // it ends with the server
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusNotFound || res.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %s, %s", res.Status, res.Header.Get("Content-Type"))
	}
	for name, option := range map[string]connect.ClientOption{"connect": connect.WithProtoJSON(), "grpc": connect.WithGRPC(), "grpc-web": connect.WithGRPCWeb()} {
		_, err := connect.NewClient[oprcv1.ListPackagesRequest, oprcv1.ListPackagesResponse](client, url+nope, option).
			CallUnary(t.Context(), connect.NewRequest(&oprcv1.ListPackagesRequest{}))
		if connect.CodeOf(err) != connect.CodeUnimplemented {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A member that a message does not have, such as dryRun, is refused: nothing is applied
// without it.
func TestUnknownMembers(t *testing.T) {
	url, client := serve(t, rest.Access{}), plain(t, false)
	for _, media := range []string{"application/json", "application/json; charset=utf-8"} {
		res, err := client.Post(url+"/oprc.v1.PackageService/ApplyPackages", media, strings.NewReader(`{"packages": "name: oops", "dryRun": true}`)) //nolint:noctx // it ends with the server
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %s", media, res.Status)
		}
	}
	_, err := oprcv1connect.NewPackageServiceClient(client, url).GetPackage(t.Context(), &oprcv1.GetPackageRequest{Name: "oops"})
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("got %v, want that nothing was applied", err)
	}
}
