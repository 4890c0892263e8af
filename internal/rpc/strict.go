package rpc

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// A strictJSON refuses members of a message that there are not, as the HTTP API does with
// query parameters: who writes dryRun into a message that has none must not be obeyed
// without it. Connect's own would pass over them.
type strictJSON struct{ name string }

// Name is the media type's, after application/.
func (s strictJSON) Name() string { return s.name }

// Marshal writes a message.
func (s strictJSON) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", message)
	}
	return protojson.Marshal(m)
}

// Unmarshal reads a message.
func (s strictJSON) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", message)
	}
	if len(data) == 0 {
		return errors.New("no JSON, which is not the same as {}")
	}
	return protojson.Unmarshal(data, m)
}
