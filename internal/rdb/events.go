package rdb

import "github.com/oaas-platform/oprc/internal/oprc"

func encodeEvent(e oprc.Event) []byte {
	e.ID, e.Time = "", e.Time.UTC()
	return oprc.MustCanonical(e)
}
