package rpc

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	oprcv1 "github.com/oaas-platform/oprc/proto/oprc/v1"
)

// Watch sends the Server-Sent Events of the HTTP API as messages.
func (s edge) Watch(ctx context.Context, in *oprcv1.WatchRequest, out *connect.ServerStream[oprcv1.WatchResponse]) error {
	q := url.Values{}
	for name, value := range map[string]string{
		"since": in.GetSince(), "package": in.GetPackage(), "class": in.GetClass(), "env": in.GetEnv(), "type": in.GetType(), "kind": in.GetKind(),
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	r, w, err := ofCall(ctx, request{method: http.MethodGet, path: "/watch", query: q})
	if err != nil {
		return err
	}
	got := &events{answer: answer{w: w, header: http.Header{}}, send: out.Send}
	s.routes.ServeHTTP(got, r)
	switch {
	case got.status >= http.StatusBadRequest:
		_, err := got.read(ctx)
		return err
	case got.slow:
		return connect.NewError(connect.CodeResourceExhausted, errors.New("the caller does not keep up with the events"))
	case ctx.Err() != nil:
		return ctx.Err()
	case got.err != nil:
		return got.err
	}
	return connect.NewError(connect.CodeUnavailable, errors.New("the server is stopping"))
}

// events is a writer of Server-Sent Events that sends them as messages.
type events struct {
	answer
	send func(*oprcv1.WatchResponse) error
	slow bool
	err  error
}

// Flush does nothing: each message is sent at once.
func (e *events) Flush() {}

func (e *events) Write(p []byte) (int, error) {
	if _, err := e.answer.Write(p); err != nil || e.status != http.StatusOK {
		return len(p), err
	}
	for {
		frame, rest, whole := bytes.Cut(e.body.Bytes(), []byte("\n\n"))
		if !whole {
			return len(p), nil
		}
		m, err := e.message(string(frame))
		if err == nil && m != nil {
			err = e.send(m)
		}
		if err != nil {
			e.err = err
			return 0, err
		}
		e.body.Next(e.body.Len() - len(rest))
	}
}

// message reads one event; a comment is an empty message.
func (e *events) message(frame string) (*oprcv1.WatchResponse, error) {
	m := &oprcv1.WatchResponse{}
	for line := range strings.SplitSeq(frame, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "id":
			m.Id = value
		case "event":
			m.Type = value
		case "data":
			m.Document = &structpb.Struct{}
			if err := protojson.Unmarshal([]byte(value), m.Document); err != nil {
				return nil, err
			}
		}
	}
	if m.Type == "gap" {
		e.slow = true
		return nil, nil
	}
	return m, nil
}
