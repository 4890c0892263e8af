package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	oprcv1 "github.com/oaas-platform/oprc/proto/oprc/v1"
)

type callKey struct{}

// A call is the HTTP request that carries a call.
type call struct {
	w http.ResponseWriter
	r *http.Request
}

// A request is one of the HTTP API.
type request struct {
	method, path string // the path escaped
	query        url.Values
	media        string
	body         []byte
}

// ofCall makes a request in the name of whoever makes the call.
func ofCall(ctx context.Context, asked request) (*http.Request, http.ResponseWriter, error) {
	from, ok := ctx.Value(callKey{}).(call)
	if !ok {
		return nil, nil, connect.NewError(connect.CodeInternal, errors.New("not in a call"))
	}
	u, err := url.Parse(asked.path)
	if err != nil {
		return nil, nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	u.RawQuery = asked.query.Encode()
	r := from.r.Clone(ctx)
	r.Method, r.URL, r.RequestURI = asked.method, u, u.RequestURI()
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(asked.body)), int64(len(asked.body))
	r.TransferEncoding, r.Trailer = nil, nil
	for name := range r.Header {
		if !passed[name] {
			delete(r.Header, name)
		}
	}
	if asked.media != "" {
		r.Header.Set("Content-Type", asked.media)
	}
	return r, from.w, nil
}

// passed are the headers that mean the same to the HTTP API. Who calls is known already.
var passed = map[string]bool{
	"If-Match": true, "If-None-Match": true, "Idempotency-Key": true, "User-Agent": true,
	"Origin": true, "Sec-Fetch-Site": true,
}

// ask returns what the HTTP API answers.
func (s edge) ask(ctx context.Context, asked request) (*structpb.Struct, error) {
	r, w, err := ofCall(ctx, asked)
	if err != nil {
		return nil, err
	}
	got := &answer{w: w, header: http.Header{}}
	s.routes.ServeHTTP(got, r)
	return got.read(ctx)
}

// An answer keeps what the HTTP API writes.
type answer struct {
	w      http.ResponseWriter // of the call, for its deadlines
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// SetReadDeadline and SetWriteDeadline are those of the call's connection.
func (a *answer) SetReadDeadline(t time.Time) error {
	return http.NewResponseController(a.w).SetReadDeadline(t)
}

// SetWriteDeadline is as SetReadDeadline.
func (a *answer) SetWriteDeadline(t time.Time) error {
	return http.NewResponseController(a.w).SetWriteDeadline(t)
}

func (a *answer) read(ctx context.Context) (*structpb.Struct, error) {
	doc := &structpb.Struct{}
	if err := protojson.Unmarshal(a.body.Bytes(), doc); err != nil {
		return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("an answer of the HTTP API cannot be a message: %w", err))
	}
	if a.status >= http.StatusBadRequest {
		return nil, a.failed(ctx, doc)
	}
	if info, ok := connect.CallInfoForHandlerContext(ctx); ok {
		if tag := a.header.Get("ETag"); tag != "" && a.status != http.StatusNotModified {
			info.ResponseHeader().Set("ETag", tag)
		}
	}
	return doc, nil
}

// failed makes an error of a problem.
func (a *answer) failed(ctx context.Context, doc *structpb.Struct) error {
	p := &oprcv1.Problem{
		Type: text(doc, "type"), Title: text(doc, "title"), Status: int32(a.status), Detail: text(doc, "detail"), Document: doc, //nolint:gosec // three digits
	}
	code := codeOf(a.status, p.GetType())
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		code = connect.CodeDeadlineExceeded
	}
	err := connect.NewError(code, errors.New(p.GetDetail()))
	if detail, bad := connect.NewErrorDetail(p); bad == nil {
		err.AddDetail(detail)
	}
	if after := a.header.Get("Retry-After"); after != "" {
		err.Meta().Set("Retry-After", after)
	}
	return err
}

// codeOf is the code for a problem. A conflict is ABORTED: read again, and retry; what
// waits for a person or for another state is FAILED_PRECONDITION.
func codeOf(status int, problem string) connect.Code {
	switch status {
	case http.StatusUnauthorized:
		return connect.CodeUnauthenticated
	case http.StatusForbidden, http.StatusMisdirectedRequest:
		return connect.CodePermissionDenied
	case http.StatusNotFound:
		return connect.CodeNotFound
	case http.StatusRequestTimeout:
		return connect.CodeDeadlineExceeded
	case http.StatusConflict:
		if strings.HasSuffix(problem, ":held") {
			return connect.CodeFailedPrecondition
		}
		return connect.CodeAborted
	case http.StatusPreconditionFailed:
		return connect.CodeFailedPrecondition
	case http.StatusGone:
		return connect.CodeOutOfRange
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests:
		return connect.CodeResourceExhausted
	case http.StatusServiceUnavailable:
		return connect.CodeUnavailable
	}
	if status < http.StatusInternalServerError {
		return connect.CodeInvalidArgument
	}
	return connect.CodeInternal
}

// text, number and object read members of a document; without one they are empty.
func text(doc *structpb.Struct, name string) string { return doc.GetFields()[name].GetStringValue() }

func number(doc *structpb.Struct, name string) int64 {
	return int64(doc.GetFields()[name].GetNumberValue())
}

func object(doc *structpb.Struct, name string) *structpb.Struct {
	return doc.GetFields()[name].GetStructValue()
}

// items are the objects of a page.
func items(doc *structpb.Struct) []*structpb.Struct {
	list := doc.GetFields()["items"].GetListValue().GetValues()
	out := make([]*structpb.Struct, len(list))
	for i, v := range list {
		out[i] = v.GetStructValue()
	}
	return out
}
